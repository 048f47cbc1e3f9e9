"""Rules that go by reply times seen lately. Finished replies in, tier names out."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

from serve_app.routing.live.facts import Outcome
from serve_app.routing.types import RoutingRequest
from serve_app.simulator.policies.rule import Unlearning

_LAST = 100
_FORGOTTEN_AFTER_S = 60.0
_BUCKET_LAST = 200
_LEVEL = 0.95


class LatestPercentile(Unlearning):
    """The best tier whose 95th percentile of the latest replies is within the SLO.

    What semantic-router's latency-aware selection (percentiles per model) and LiteLLM's
    latency-based routing (lowest latency of the last replies) have in common. Neither knows a
    deadline: with theirs, the faster tier would get everything. Given one, and given the quality
    order, it takes the best tier in time, and the fastest when none is. Replies older than a
    minute do not count, and a tier without any is tried again: else it would stay out for ever.
    """

    def __init__(self, best_first: Sequence[str]) -> None:
        self._seen = {tier: _Recent() for tier in best_first}
        self._sent_at_s: dict[str, float] = {}

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        limit_s = (request.slo.e2e_ms or math.inf) / 1000
        says = {tier: recent.quantile_s(_LEVEL, now) for tier, recent in self._seen.items()}
        for tier, e2e_s in says.items():
            if e2e_s <= limit_s:
                return tier
        return min(says, key=lambda tier: says[tier])

    def sent(self, request_id: str, request: RoutingRequest, tier: str, now: float) -> None:
        self._sent_at_s[request_id] = now

    def ended(
        self, request_id: str, request: RoutingRequest, tier: str, outcome: Outcome | None
    ) -> None:
        sent_at_s = self._sent_at_s.pop(request_id)
        if outcome is not None:
            self._seen[tier].add(outcome.elapsed_s, sent_at_s + outcome.elapsed_s)


class HistogramMean(Unlearning):
    """AIBrix: mean reply time of the prompt's bucket against the SLO, earliest deadline first.

    AIBrix predicts output tokens by a histogram per round(log2(prompt)) and looks the latency up in
    a profile (pkg/cache/output_predictor.go, model_gpu_profile.go); its SLO queue serves by slack.
    Here the profile is what this tier's replies of the bucket really took lately, load included,
    which no profile knows; deadlines order the engine's own queue. It picks the best tier whose
    mean is in time, else the one with the least.
    """

    def __init__(self, best_first: Sequence[str]) -> None:
        self._means: dict[str, dict[int, _Mean]] = {tier: {} for tier in best_first}
        self._all = {tier: _Mean() for tier in best_first}

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        limit_s = (request.slo.e2e_ms or math.inf) / 1000
        says = {tier: self._mean_s(tier, request) for tier in self._means}
        for tier, e2e_s in says.items():
            if e2e_s <= limit_s:
                return tier
        return min(says, key=lambda tier: says[tier])

    def ended(
        self, request_id: str, request: RoutingRequest, tier: str, outcome: Outcome | None
    ) -> None:
        if outcome is None:
            return
        bucket = _bucket(request.prompt_tokens[tier])
        self._means[tier].setdefault(bucket, _Mean()).add(outcome.elapsed_s)
        self._all[tier].add(outcome.elapsed_s)

    def _mean_s(self, tier: str, request: RoutingRequest) -> float:
        mean = self._means[tier].get(_bucket(request.prompt_tokens[tier]))
        return (mean or self._all[tier]).mean_s


class _Recent:
    """The latest times, sorted, and when they ended."""

    def __init__(self) -> None:
        self._in_order: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []

    def add(self, e2e_s: float, now: float) -> None:
        self._in_order.append((now, e2e_s))
        insort(self._sorted, e2e_s)
        if len(self._in_order) > _LAST:
            self._drop()

    def quantile_s(self, level: float, now: float) -> float:
        """0 when nothing is known, so that it is tried."""
        while self._in_order and self._in_order[0][0] < now - _FORGOTTEN_AFTER_S:
            self._drop()
        return self._sorted[int(level * (len(self._sorted) - 1))] if self._sorted else 0.0

    def _drop(self) -> None:
        _, e2e_s = self._in_order.popleft()
        del self._sorted[bisect_left(self._sorted, e2e_s)]


class _Mean:
    """Of the latest times; 0 before the first, so that it is tried."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=_BUCKET_LAST)
        self._total = 0.0

    @property
    def mean_s(self) -> float:
        return self._total / len(self._values) if self._values else 0.0

    def add(self, value: float) -> None:
        if len(self._values) == _BUCKET_LAST:
            self._total -= self._values[0]
        self._values.append(value)
        self._total += value


def _bucket(prompt_tokens: int) -> int:
    return round(math.log2(max(1, prompt_tokens)))
