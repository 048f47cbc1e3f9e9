"""When one request's whole reply will be there, as a distribution. Pure data and arithmetic.

Two things are unknown before a reply: how long it will be, and how wrong the predicted time for
that length is. Both are kept as distributions and joined for each question, so that a probability
is never the product of stacked quantiles.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from serve_app.routing.forecasting.in_time import InTime
from serve_app.routing.forecasting.search import where_reached
from serve_app.routing.latency import ReplyTime
from serve_app.routing.learning.conformal import Recalibration, score_of
from serve_app.routing.learning.errors import Error
from serve_app.routing.learning.knowledge import Knowledge
from serve_app.routing.lengths.reply import ReplyLength

_LEAST_S: Final = 1e-6


# Never changed, but not frozen: what is worked out is kept by hand, as in `Candidate`.
@dataclass(slots=True)
class Forecast:
    """One request on one tier, with what was known of the tier when it was made.

    raw: before anything learned was applied. expected_tokens: the length it was made for; `length`
    may have been cut since. time: with everything learned applied. e2e_error: what is left of
    log(actual / predicted) around it. groups: those it is recalibrated with, the one that stands
    for its load first.
    """

    raw: ReplyTime
    length: ReplyLength
    prompt_tokens: int
    expected_tokens: float
    knowledge: Knowledge
    groups: tuple[str, ...]
    time: ReplyTime
    e2e_error: Error
    # The limit last asked for, which is nearly always the request's own.
    _asked: InTime | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        raw: ReplyTime,
        length: ReplyLength,
        knowledge: Knowledge,
        *,
        prompt_tokens: int,
        expected_tokens: float,
    ) -> "Forecast":
        """Everything known, applied to one raw prediction."""
        groups = _groups(raw, prompt_tokens, expected_tokens)
        known = knowledge.at(groups[0])
        time, error = known.speeds.applied(raw), known.e2e_error
        return cls(raw, length, prompt_tokens, expected_tokens, knowledge, groups, time, error)

    @property
    def recalibration(self) -> Recalibration:
        """What probabilities of such requests were worth when it was made."""
        return self.knowledge.recalibration(self.groups)

    @property
    def ttft_error(self) -> Error:
        return self.knowledge.ttft_error

    @property
    def tpot_error(self) -> Error:
        return self.knowledge.tpot_error

    @property
    def shift_s(self) -> float:
        """Added to actual and predicted, because what disturbs a reply (a hop, somebody's prefill)
        costs a short one as many seconds as a long one.
        """
        return self.knowledge.shift_s

    @property
    def load_group(self) -> str:
        """The group that stands for the load it was made at."""
        return self.groups[0]

    @property
    def mean_e2e_s(self) -> float:
        """Time of a reply of mean length, in seconds."""
        return self.time.e2e_s(self.length.mean)

    def probability(self, limit_s: float) -> float:
        """P(whole reply within `limit_s`), corrected by how often such statements came true."""
        return self.recalibration.true_probability(self.stated_probability(limit_s))

    def quantile_s(self, probability: float) -> float:
        """Seconds within which the whole reply is there with this probability; the inverse."""
        stated = self.recalibration.stated_probability(probability)
        if self.length.is_fixed:
            factor = math.exp(score_of(stated) * self.e2e_error.spread)
            return max(_LEAST_S, (self.mean_e2e_s + self.shift_s) * factor - self.shift_s)
        return where_reached(
            lambda limit_s: score_of(self.stated_probability(limit_s)),
            score_of(stated),
            *self._range(),
        )

    def reaches(self, probability: float, limit_s: float) -> bool:
        """Whether `probability(limit_s)` is that or more; mostly known from its bounds."""
        if limit_s <= 0.0 or probability <= 0.0:
            return probability <= 0.0
        return self._within(limit_s).reaches(self.recalibration.stated_probability(probability))

    def stated_probability(self, limit_s: float) -> float:
        """P(whole reply within `limit_s`) by the model alone."""
        return self._within(limit_s).share() if limit_s > 0.0 else 0.0

    def ttft_probability(self, limit_s: float) -> float:
        """P(first token within `limit_s`)."""
        return _within(
            limit_s + self.shift_s, self.time.ttft_s + self.shift_s, self.ttft_error.spread
        )

    def tpot_probability(self, limit_s: float) -> float:
        """P(each later token takes `limit_s` or less, in the mean over the reply)."""
        return _within(limit_s, self.time.step_s, self.tpot_error.spread)

    def largest_output_tokens(self, limit_s: float, probability: float) -> int:
        """The longest reply that is there within `limit_s` with this probability; 0 if none."""
        stated = self.recalibration.stated_probability(probability)
        if self._fits(limit_s + self.shift_s, 1.0) < stated:
            return 0
        low, high = 1, self.length.most
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(limit_s + self.shift_s, middle) >= stated:
                low = middle
            else:
                high = middle - 1
        return low

    def _fits(self, shifted_limit_s: float, tokens: float) -> float:
        return _within(
            shifted_limit_s, self.time.e2e_s(tokens) + self.shift_s, self.e2e_error.spread
        )

    def _within(self, limit_s: float) -> InTime:
        asked = self._asked
        if asked is None or asked.limit_s != limit_s:
            spread = self.e2e_error.spread
            asked = self._asked = InTime(self.length, self.time, spread, limit_s, self.shift_s)
        return asked

    def _range(self) -> tuple[float, float]:
        margin = math.exp(6.0 * self.e2e_error.spread)
        shortest_s, longest_s = (
            self.time.e2e_s(self.length.least),
            self.time.e2e_s(self.length.most),
        )
        return shortest_s / margin, (longest_s + self.shift_s) * margin


def _groups(raw: ReplyTime, prompt_tokens: int, expected_tokens: float) -> tuple[str, ...]:
    """Coverage is kept within each: doublings of load, prompt and length.

    Prompt and length are told apart by light, middling and heavy load, so that no group holds both
    an idle and an overloaded machine: what misses under overload must not widen the bounds of an
    idle tier, which would then be refused everything and never be seen to be fast again.
    """
    waits = 0
    if raw.wait_s > 0.0 and raw.prefill_s > 0.0:
        waits = round(math.log2(1.0 + raw.wait_s / raw.prefill_s))
    load = round(math.log2(1.0 + raw.batch))
    weight = 0 if load <= 2 and waits <= 1 else 1 if load <= 4 and waits <= 3 else 2
    prompt = round(math.log2(prompt_tokens)) if prompt_tokens > 1 else 0
    length = round(math.log2(expected_tokens)) if expected_tokens > 1.0 else 0
    return _names_of(load, min(waits, 8), weight, prompt, length)


@lru_cache(maxsize=4096)
def _names_of(load: int, waits: int, weight: int, prompt: int, length: int) -> tuple[str, ...]:
    return (
        f"load|{load}|{waits}",
        f"weight|{weight}",
        f"prompt|{weight}|{prompt}",
        f"length|{weight}|{length}",
    )


def _within(limit_s: float, predicted_s: float, spread: float) -> float:
    """P(actual <= limit) when log(actual / predicted) is normal around 0."""
    if predicted_s <= 0.0:
        return 1.0
    if limit_s <= 0.0:
        return 0.0
    return 0.5 * math.erfc(-math.log(limit_s / predicted_s) / (spread * math.sqrt(2.0)))
