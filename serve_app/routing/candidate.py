"""What one tier would do with a request. Data, worked out when asked for."""

import math
from dataclasses import dataclass, field
from typing import Literal

from serve_app.config import Objective
from serve_app.routing.forecasting.forecast import Forecast
from serve_app.routing.latency import IDLE, ReplyTime, TierLoad, predict
from serve_app.routing.learning.knowledge import Knowledge
from serve_app.routing.lengths.reply import ReplyLength
from serve_app.routing.types import RoutingRequest, Slo, TierView

Exclusion = Literal[
    "starting", "not-pinned", "adapter", "context-window", "prompt-rule", "class-share"
]


# Not frozen, which would make each field slower to set, and what is worked out is kept by hand: a
# `cached_property` needs a dict, which costs a tenth of a decision.
@dataclass(slots=True)
class Candidate:
    """What one tier would do with the request, by what was known when it was asked.

    Most of that is worked out when somebody asks for it: of a tier that could not be selected
    anyway, nobody does before the request is on its way.

    whole_length: of the reply, before anything was cut; looked up at once, because each later
    reply changes what is counted. quality: of this tier for this task. price_per_work_s: of its
    capacity, in quality. fitted_tokens: where the reply was cut until the SLO is met with the
    asked attainment.
    """

    request: RoutingRequest
    view: TierView
    whole_length: ReplyLength
    objective: Objective
    knowledge: Knowledge
    quality: float
    price_per_work_s: float
    excluded: Exclusion | None
    fitted_tokens: int | None = None
    _forecast: Forecast | None = field(default=None, init=False, repr=False)
    _idle: Forecast | None = field(default=None, init=False, repr=False)
    _probability: float | None = field(default=None, init=False, repr=False)
    _met: float = field(default=0.0, init=False, repr=False)
    _missed: float = field(default=math.inf, init=False, repr=False)
    _idle_reached: bool | None = field(default=None, init=False, repr=False)

    @property
    def tier(self) -> str:
        return self.view.tier

    @property
    def prompt_tokens(self) -> int:
        """By the tier's own tokenizer."""
        return self.request.prompt_tokens[self.view.tier]

    @property
    def slo(self) -> Slo:
        return self.request.slo

    @property
    def fill(self) -> float:
        """Sequences per decode slot."""
        return self.view.fill

    @property
    def length(self) -> ReplyLength:
        """Of the reply."""
        whole = self.whole_length
        return whole if self.fitted_tokens is None else whole.capped(self.fitted_tokens)

    @property
    def forecast(self) -> Forecast:
        """Of its reply under the load of now."""
        if self._forecast is None:
            self._forecast = self._under(self.view.load)
        return self._forecast

    @property
    def idle(self) -> Forecast:
        """On an empty replica."""
        if self._idle is None:
            self._idle = self._under(IDLE)
        return self._idle

    @property
    def probability(self) -> float:
        """That the SLO is met now, 0 to 1; 1 when there is none."""
        if self.fitted_tokens is not None:
            return self.slo.attainment
        if self._probability is None:
            self._probability = _slo_probability(self.slo, self.forecast, self.request.elapsed_s)
        return self._probability

    def reaches(self, probability: float) -> bool:
        """Whether `probability` is that or more, which is mostly known without working it out."""
        if self.fitted_tokens is not None:
            return self.slo.attainment >= probability
        # What reaches a probability reaches a smaller one.
        if probability <= self._met:
            return True
        if probability >= self._missed:
            return False
        if _reaches(self.request.slo, self.forecast, self.request.elapsed_s, probability):
            self._met = probability
            return True
        self._missed = probability
        return False

    @property
    def score(self) -> float:
        """What the objective maximizes, price included."""
        if self.objective == "cheapest_within_slo":
            return -self.cost_usd
        if self.price_per_work_s == 0.0:
            return self.quality
        return self.quality - self.price_per_work_s * self.idle_e2e_s * self.length.sequences

    @property
    def highest_score(self) -> float:
        """What `score` cannot exceed, known without a forecast."""
        return 0.0 if self.objective == "cheapest_within_slo" else self.quality

    @property
    def cost_usd(self) -> float:
        """Of its share of the machine while it runs, in US dollars."""
        return self.view.usd_per_hour / 3600 * self.forecast.mean_e2e_s / self.forecast.raw.batch

    @property
    def time(self) -> ReplyTime:
        """Predicted now, with everything learned applied."""
        return self.forecast.time

    @property
    def output_tokens(self) -> float:
        """Expected tokens of one sequence."""
        return self.length.mean

    @property
    def length_evidence(self) -> float:
        """Replies that the expected length rests on; the caller's own fixed one needs none."""
        if self.length.is_fixed:
            return math.inf
        query = self.request.length_query(self.prompt_tokens, self.view.context_tokens)
        return self.view.lengths.evidence(query)

    @property
    def e2e_s(self) -> float:
        """Predicted time of a reply of expected length, in seconds."""
        return self.forecast.mean_e2e_s

    @property
    def idle_e2e_s(self) -> float:
        return self.idle.mean_e2e_s

    @property
    def idle_probability(self) -> float:
        """That the SLO would be met if nothing else were running."""
        return _slo_probability(self.slo, self.idle, self.request.elapsed_s)

    @property
    def is_feasible(self) -> bool:
        return self.excluded is None and self.reaches(self.request.slo.attainment)

    @property
    def is_feasible_when_idle(self) -> bool:
        # What is known already first; then an idle tier, of which it is mostly plain.
        attainment = self.request.slo.attainment
        return self.excluded in (None, "class-share") and (
            attainment <= self._met or self.reaches_when_idle or self.reaches(attainment)
        )

    @property
    def reaches_when_idle(self) -> bool:
        """Whether the SLO would be met with the asked attainment if nothing else were running."""
        if self._idle_reached is None:
            attainment = self.slo.attainment
            self._idle_reached = _reaches(self.slo, self.idle, self.request.elapsed_s, attainment)
        return self._idle_reached

    @property
    def idle_bound_s(self) -> float:
        """What an idle tier meets with the asked attainment, in seconds from now."""
        return self.idle.quantile_s(self.slo.attainment)

    @property
    def smallest_e2e_s(self) -> float:
        """The smallest deadline the tier meets now with the asked attainment, from arrival."""
        return self.request.elapsed_s + self.forecast.quantile_s(self.slo.attainment)

    @property
    def largest_output_tokens(self) -> int:
        """Longest reply that the idle tier finishes within the SLO; 0 when none."""
        if self.slo.e2e_ms is None:
            return self.length.most
        left_s = self.slo.e2e_ms / 1000 - self.request.elapsed_s
        return self.idle.largest_output_tokens(left_s, self.slo.attainment)

    def _under(self, load: TierLoad) -> Forecast:
        request, view, whole = self.request, self.view, self.whole_length
        prompt_tokens, expected_tokens = request.prompt_tokens[view.tier], whole.mean
        raw = predict(
            view.profile,
            load,
            prompt_tokens=prompt_tokens,
            output_tokens=expected_tokens,
            sequences=request.sequences,
            max_num_seqs=view.max_num_seqs,
        )
        return Forecast.of(
            raw,
            whole if self.fitted_tokens is None else self.length,
            self.knowledge,
            prompt_tokens=prompt_tokens,
            expected_tokens=expected_tokens,
        )


def _slo_probability(slo: Slo, forecast: Forecast, elapsed_s: float) -> float:
    """The least likely of the asked limits; they share their causes, so no product."""
    probability = 1.0
    if slo.e2e_ms is not None:
        probability = forecast.probability(slo.e2e_ms / 1000 - elapsed_s)
    if slo.ttft_ms is not None:
        limit_s = slo.ttft_ms / 1000 - elapsed_s
        probability = min(probability, forecast.ttft_probability(limit_s))
    if slo.tpot_ms is not None:
        probability = min(probability, forecast.tpot_probability(slo.tpot_ms / 1000))
    return probability


def _reaches(slo: Slo, forecast: Forecast, elapsed_s: float, probability: float) -> bool:
    """Whether the least likely of the asked limits is that likely."""
    if slo.ttft_ms is not None or slo.tpot_ms is not None:
        return _slo_probability(slo, forecast, elapsed_s) >= probability
    return slo.e2e_ms is None or forecast.reaches(probability, slo.e2e_ms / 1000 - elapsed_s)
