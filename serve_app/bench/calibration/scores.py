"""How good forecasts were. Requests with what was said and what came in, figures out.

Coverage is asked of every third of the prompts, of the load and of the EXPECTED reply length at the
time of the decision, not of the length that came: a reply that turns out twice as long as such
replies are is late by definition, and only a predictor that knew the outcome could cover it. The
thirds by actual length are given beside it, for information.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from serve_app.bench.calibration.baselines import BASELINES, GlobalQuantile, foretold
from serve_app.bench.calibration.replay import Forecasted
from serve_app.routing.lengths.scores import pinball

NUM_WARM_UP = 500
LEAST_REQUESTS = 1_000
LEVELS = (0.5, 0.9, 0.95)
BOUND = 0.95
_MEDIAN_AT, _BOUND_AT = LEVELS.index(0.5), LEVELS.index(BOUND)
_BISECTIONS = 18


@dataclass(frozen=True, slots=True)
class Scored:
    """One request after warm-up. Seconds, tokens, probabilities.

    load: sequences in flight when it arrived. expected_tokens: of the reply, as believed then.
    given_length_s: predicted for the length that came. stated: the probability that had been given
    to a reply within the time that it then took. quantiles_s: at `LEVELS`, by predictor.
    """

    prompt_tokens: int
    output_tokens: int
    expected_tokens: float
    load: float
    e2e_s: float
    given_length_s: float
    stated: float
    quantiles_s: Mapping[str, tuple[float, ...]]

    @property
    def median_s(self) -> float:
        return self.quantiles_s["tandem"][_MEDIAN_AT]

    @property
    def bound_s(self) -> float:
        return self.quantiles_s["tandem"][_BOUND_AT]

    @property
    def is_covered(self) -> bool:
        return self.e2e_s <= self.bound_s


@dataclass(frozen=True, slots=True)
class Scores:
    """All figures of one run; fields as in the JSON document."""

    num_scored: int
    coverage: float
    coverage_by: Mapping[str, list[float]]
    coverage_by_actual_length: list[float]
    tightness_vs_global: float
    pinball: Mapping[str, float]
    median_abs_rel_error: float
    median_abs_rel_error_given_length: float
    rank_correlation: float


def judge(replies: Sequence[Forecasted]) -> list[Scored]:
    """Asks our forecasts and every baseline; the first `NUM_WARM_UP` arrivals are left out.

    Args:
        replies: of one run, in order of arrival.
    """
    said = {name: foretold(make(), replies, LEVELS) for name, make in BASELINES.items()}
    return [
        _scored(reply, {name: quantiles_s[index] for name, quantiles_s in said.items()})
        for index, reply in enumerate(replies)
        if index >= NUM_WARM_UP
    ]


def scores(scored: Sequence[Scored], replies: Sequence[Forecasted]) -> Scores:
    """The figures of one run; `replies` is what `judge` had."""
    predictors = ("tandem", *BASELINES)
    return Scores(
        num_scored=len(scored),
        coverage=coverage(scored),
        coverage_by={
            "prompt": by_tercile(scored, lambda one: one.prompt_tokens),
            "length": by_tercile(scored, lambda one: one.expected_tokens),
            "load": by_tercile(scored, lambda one: one.load),
        },
        coverage_by_actual_length=by_tercile(scored, lambda one: one.output_tokens),
        tightness_vs_global=tightness(scored, replies),
        pinball={name: mean_pinball(scored, name) for name in predictors},
        median_abs_rel_error=median_error((one.median_s, one.e2e_s) for one in scored),
        median_abs_rel_error_given_length=median_error(
            (one.given_length_s, one.e2e_s) for one in scored
        ),
        rank_correlation=statistics.correlation(
            _ranks([one.median_s for one in scored]), _ranks([one.e2e_s for one in scored])
        ),
    )


def coverage(scored: Sequence[Scored]) -> float:
    """Share of replies within their 95 % bound."""
    return statistics.fmean(one.is_covered for one in scored)


def by_tercile(scored: Sequence[Scored], feature: Callable[[Scored], float]) -> list[float]:
    """Coverage of the third with the smallest values, of the middle and of the largest."""
    ordered = sorted(scored, key=feature)
    ends = [round(len(ordered) * part / 3) for part in range(4)]
    return [coverage(ordered[low:high]) for low, high in pairwise(ends)]


def mean_pinball(scored: Sequence[Scored], predictor: str) -> float:
    """Mean pinball loss over `LEVELS`, in seconds; smaller is better, whatever the truth is."""
    return statistics.fmean(
        pinball(one.e2e_s, quantile_s, level)
        for one in scored
        for quantile_s, level in zip(one.quantiles_s[predictor], LEVELS, strict=True)
    )


def median_error(pairs: Iterable[tuple[float, float]]) -> float:
    """Median of |predicted / actual - 1|."""
    return statistics.median(abs(predicted / actual - 1.0) for predicted, actual in pairs)


def tightness(scored: Sequence[Scored], replies: Sequence[Forecasted]) -> float:
    """How much smaller our mean bound is than one rolling bound for all of the same coverage.

    That one's level is chosen in hindsight, which no server could: the smallest whose coverage
    reaches ours, by bisection.
    """
    wanted = coverage(scored)
    low, high = 0.0, 1.0
    bounds_s = _global_bounds_s(replies, high)
    for _ in range(_BISECTIONS):
        level = (low + high) / 2
        tried_s = _global_bounds_s(replies, level)
        covered = statistics.fmean(
            one.e2e_s <= bound_s for one, bound_s in zip(scored, tried_s, strict=True)
        )
        if covered >= wanted:
            high, bounds_s = level, tried_s
        else:
            low = level
    return 1.0 - statistics.fmean(one.bound_s for one in scored) / statistics.fmean(bounds_s)


def _ranks(values: Sequence[float]) -> list[float]:
    """Each value's place, counted from 0; of equal ones the earlier comes first."""
    ranks = [0.0] * len(values)
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        ranks[index] = float(rank)
    return ranks


def _global_bounds_s(replies: Sequence[Forecasted], level: float) -> list[float]:
    said = foretold(GlobalQuantile(), replies, (level,))
    return [bound_s for (bound_s,) in said[NUM_WARM_UP:]]


def _scored(reply: Forecasted, quantiles_s: Mapping[str, tuple[float, ...]]) -> Scored:
    forecast, request = reply.forecast, reply.request
    own_s = tuple(forecast.quantile_s(level) for level in LEVELS)
    return Scored(
        prompt_tokens=request.prompt_tokens,
        output_tokens=request.output_tokens,
        expected_tokens=forecast.length.mean,
        load=reply.sequences,
        e2e_s=reply.e2e_s,
        given_length_s=forecast.time.e2e_s(request.output_tokens),
        stated=forecast.probability(reply.e2e_s),
        quantiles_s={"tandem": own_s, **quantiles_s},
    )
