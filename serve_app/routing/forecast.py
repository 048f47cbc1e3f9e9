"""When one request's whole reply will be there, as a distribution. Pure data and arithmetic.

Two things are unknown before a reply: how long it will be, and how wrong the predicted time for
that length is. Both are kept as distributions and joined for each question, so that a probability
is never the product of stacked quantiles.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from serve_app.routing.latency import ReplyTime
from serve_app.routing.learning.conformal import Recalibration
from serve_app.routing.learning.errors import Error
from serve_app.routing.learning.histogram import TOKENS
from serve_app.routing.lengths import ReplyLength

_SURE = 4.0
_STEPS = 18


@dataclass(frozen=True, slots=True)
class Forecast:
    """One request on one tier: predicted time, length, error, and what probabilities are worth.

    raw: before anything learned was applied; time: after. e2e_error, ttft_error, tpot_error: what
    is left of log(actual / predicted) around `time`. shift_s: added to both of them, because what
    disturbs a reply (a hop, somebody's prefill) costs a short one as many seconds as a long one.
    groups: those it is recalibrated with, the one that stands for its load first.
    """

    raw: ReplyTime
    time: ReplyTime
    length: ReplyLength
    e2e_error: Error
    ttft_error: Error
    tpot_error: Error
    shift_s: float
    recalibration: Recalibration
    groups: tuple[str, ...]

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
        return _smallest(lambda limit_s: self.stated_probability(limit_s) >= stated, *self._range())

    def stated_probability(self, limit_s: float) -> float:
        """P(whole reply within `limit_s`) by the model alone: a sum over lengths.

        Only lengths whose time lies within four spreads of the limit need the normal
        distribution; shorter ones surely fit, longer ones surely do not.
        """
        if limit_s <= 0.0:
            return 0.0
        spread, most, least = self.e2e_error.spread, self.length.most, self.length.least
        shift_s = self.shift_s
        shifted_s, margin = limit_s + shift_s, math.exp(_SURE * spread)
        sure = self.time.tokens_within(shifted_s / margin - shift_s)
        if sure >= most:
            return 1.0
        if self.length.is_fixed:
            return self._fits(shifted_s, most)
        possible = min(float(most), self.time.tokens_within(shifted_s * margin - shift_s))
        cumulative, sequences = self.length.distribution.cumulative, self.length.sequences
        first, end = bisect_right(TOKENS, sure), bisect_left(TOKENS, possible)
        # Whoever would be shorter than `least` is as long as that.
        below = cumulative[first - 1] ** sequences if first and sure >= least else 0.0
        total = below
        for index in range(first if sure >= least else 0, end):
            upto = cumulative[index] ** sequences
            if upto > below:
                total += (upto - below) * self._fits(shifted_s, max(least, TOKENS[index]))
                below = upto
        if possible >= most:
            total += (1.0 - below) * self._fits(shifted_s, most)
        return min(1.0, total)

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

    def _range(self) -> tuple[float, float]:
        margin = math.exp(6.0 * self.e2e_error.spread)
        shortest_s, longest_s = (
            self.time.e2e_s(self.length.least),
            self.time.e2e_s(self.length.most),
        )
        return shortest_s / margin, (longest_s + self.shift_s) * margin


def _within(limit_s: float, predicted_s: float, spread: float) -> float:
    """P(actual <= limit) when log(actual / predicted) is normal around 0."""
    if predicted_s <= 0.0:
        return 1.0
    if limit_s <= 0.0:
        return 0.0
    return 0.5 * math.erfc(-math.log(limit_s / predicted_s) / (spread * math.sqrt(2.0)))


def _smallest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a monotone condition begins to hold, by bisection of the logarithm."""
    low = max(low, 1e-6)
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
