"""llm-d-like: quantile regression on engine features. Loads and requests in, tier names out.

llm-d's predicted-latency scheduling trains quantile models of TTFT and TPOT on KV usage, prompt
length, running and waiting requests, and sends a request where it has headroom to its SLO; it
refuses sheddable requests that no replica would serve in time. Here one linear quantile regression
per tier (scikit-learn) predicts the whole reply directly, which its two cannot without a length;
prompt buckets are features as well, so that lengths that depend on the prompt can be learned. It
is trained on other requests, sent to tiers at random at the same load.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve_app.routing.live.facts import Outcome
from serve_app.routing.types import RoutingRequest
from serve_app.simulator.fleet.members import LoadBoard, ReplicaLoad
from serve_app.simulator.policies.rule import Rule, Unlearning

_LEVEL = 0.9
_SMALLEST_BUCKET, _LARGEST_BUCKET = 5, 13
_REGULARIZATION = 1e-4


@dataclass(frozen=True, slots=True)
class LinearQuantile:
    """A fitted quantile: intercept_s + coefficients x features, in seconds."""

    intercept_s: float
    coefficients: tuple[float, ...]

    def e2e_s(self, features: Sequence[float]) -> float:
        products = (c * x for c, x in zip(self.coefficients, features, strict=True))
        return self.intercept_s + sum(products)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen when a request was sent to a tier, and how long its reply took."""

    tier: str
    features: tuple[float, ...]
    e2e_s: float


class QuantileRegression(Unlearning):
    """The best tier with headroom, else the one with the most; or a refusal, when it sheds."""

    def __init__(
        self,
        best_first: Sequence[str],
        models: Mapping[str, LinearQuantile],
        board: LoadBoard,
        *,
        sheds: bool,
    ) -> None:
        self._tiers = best_first
        self._models = models
        self._board = board
        self._sheds = sheds

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        limit_s = (request.slo.e2e_ms or math.inf) / 1000
        says = {tier: self._e2e_s(tier, request, now) for tier in self._tiers}
        for tier, e2e_s in says.items():
            if e2e_s <= limit_s:
                return tier
        return None if self._sheds else min(says, key=lambda tier: says[tier])

    def _e2e_s(self, tier: str, request: RoutingRequest, now: float) -> float:
        loads = self._board.of(tier, now)
        model = self._models[tier]
        return min(
            (model.e2e_s(features(request.prompt_tokens[tier], load)) for load in loads),
            default=math.inf,
        )


class Recorder:
    """Notes what another rule's requests met, to train on."""

    def __init__(self, rule: Rule, board: LoadBoard) -> None:
        self._rule = rule
        self._board = board
        self._met: dict[str, tuple[float, ...]] = {}
        self.samples: list[Sample] = []

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        return self._rule.pick(request, now)

    def sent(self, request_id: str, request: RoutingRequest, tier: str, now: float) -> None:
        # The replica with the fewest requests is the one that gets it.
        load = min(self._board.of(tier, now), key=lambda load: load.running + load.waiting)
        self._met[request_id] = features(request.prompt_tokens[tier], load)
        self._rule.sent(request_id, request, tier, now)

    def ended(
        self, request_id: str, request: RoutingRequest, tier: str, outcome: Outcome | None
    ) -> None:
        met = self._met.pop(request_id)
        if outcome is not None:
            self.samples.append(Sample(tier, met, outcome.elapsed_s))
        self._rule.ended(request_id, request, tier, outcome)


def features(prompt_tokens: int, load: ReplicaLoad) -> tuple[float, ...]:
    """Engine features, scaled to about 1, and the prompt's bucket."""
    bucket = min(_LARGEST_BUCKET, max(_SMALLEST_BUCKET, round(math.log2(max(1, prompt_tokens)))))
    one_hot = [0.0] * (_LARGEST_BUCKET - _SMALLEST_BUCKET + 1)
    one_hot[bucket - _SMALLEST_BUCKET] = 1.0
    return (
        prompt_tokens / 1000,
        load.running / 10,
        load.waiting / 10,
        load.queued_tokens / 1000,
        load.kv_usage,
        *one_hot,
    )


def fit(samples: Sequence[Sample]) -> dict[str, LinearQuantile]:
    """One model per tier; needs scikit-learn, which the `bench` extra brings.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        from sklearn.linear_model import QuantileRegressor
    except ImportError as err:
        raise RuntimeError(
            "The policy quantile-regression needs scikit-learn: pip install "
            "'tandem-serve[bench]', or leave it out of --policies."
        ) from err
    models = {}
    for tier in {sample.tier for sample in samples}:
        here = [sample for sample in samples if sample.tier == tier]
        x: NDArray[np.float64] = np.array([sample.features for sample in here])
        y: NDArray[np.float64] = np.array([sample.e2e_s for sample in here])
        fitted = QuantileRegressor(quantile=_LEVEL, alpha=_REGULARIZATION, solver="highs").fit(x, y)
        models[tier] = LinearQuantile(float(fitted.intercept_), tuple(map(float, fitted.coef_)))
    return models
