"""Predictors of reply time that others use, to compare with. Finished replies in, quantiles out.

Each one learns online, from each reply when it has finished, as ours does. All are NaN before the
first. What a simplification changes is in the baseline's favour where there was a choice.
"""

import math
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from serve_app.bench.calibration.replay import Forecasted
from serve_app.simulator.trace import Request

_GLOBAL_WINDOW = 500
_LAST = 1_000


class Baseline(Protocol):
    """A predictor of whole-reply times."""

    def quantile_s(self, request: Request, level: float) -> float:
        """Seconds that a share `level` of such replies should not exceed."""
        ...

    def observe(self, reply: Forecasted) -> None:
        """Takes one finished reply."""
        ...


class GlobalQuantile:
    """The quantile of the last 500 replies, whatever was asked: what a dashboard's p95 says."""

    def __init__(self) -> None:
        self._e2e_s = Window(_GLOBAL_WINDOW)

    def quantile_s(self, request: Request, level: float) -> float:
        return self._e2e_s.quantile(level)

    def observe(self, reply: Forecasted) -> None:
        self._e2e_s.add(reply.e2e_s)


class SemanticRouter:
    """vLLM semantic-router's latency-aware selection: percentiles of TTFT and TPOT per model.

    Source: its pkg/latency (percentiles of the last 1,000 values of each, interpolated) and
    pkg/selection/latency_aware.go, commit 1fa0cd1, which ranks models by them. It states no time
    of a whole reply: TTFT + mean output length x TPOT is what its numbers amount to, with one
    percentile for both. It divides the whole time by the output tokens and calls that TPOT; here
    TPOT is the time between tokens, so that TTFT does not count twice.
    """

    def __init__(self) -> None:
        self._ttft_s, self._tpot_s = Window(_LAST), Window(_LAST)
        self._tokens = Mean(_LAST)

    def quantile_s(self, request: Request, level: float) -> float:
        later_tokens = max(0.0, self._tokens.mean - 1.0)
        return self._ttft_s.quantile(level) + later_tokens * self._tpot_s.quantile(level)

    def observe(self, reply: Forecasted) -> None:
        tokens = reply.request.output_tokens
        self._ttft_s.add(reply.ttft_s)
        self._tokens.add(tokens)
        if tokens > 1:
            self._tpot_s.add((reply.e2e_s - reply.ttft_s) / (tokens - 1))


class Aibrix:
    """AIBrix: the mean latency of the prompt's bucket, a point that serves as every quantile.

    Source: pkg/cache/output_predictor.go, commit 6148242 (histogram of output tokens in buckets of
    round(log2(prompt)) over some minutes, one length drawn from it) and model_gpu_profile.go,
    commit 01b4928 (mean end-to-end latency by prompt and output tokens, from a profile). Here the
    draw is replaced by its mean and the profile by what this engine did: the mean over the
    bucket's replies among the last 1,000. A bucket without any takes the mean of all.
    """

    def __init__(self) -> None:
        self._all = Mean(_LAST)
        self._by_bucket: defaultdict[int, Mean] = defaultdict(lambda: Mean(_LAST))
        self._buckets: deque[int] = deque()

    def quantile_s(self, request: Request, level: float) -> float:
        bucket = self._by_bucket.get(_bucket(request))
        return bucket.mean if bucket and bucket.count else self._all.mean

    def observe(self, reply: Forecasted) -> None:
        bucket = _bucket(reply.request)
        self._all.add(reply.e2e_s)
        self._by_bucket[bucket].add(reply.e2e_s)
        self._buckets.append(bucket)
        if len(self._buckets) > _LAST:
            self._by_bucket[self._buckets.popleft()].drop_oldest()


BASELINES: Mapping[str, Callable[[], Baseline]] = {
    "global_quantile": GlobalQuantile,
    "semantic_router": SemanticRouter,
    "aibrix": Aibrix,
}


def foretold(
    baseline: Baseline, replies: Sequence[Forecasted], levels: Sequence[float]
) -> list[tuple[float, ...]]:
    """What the baseline says of each request when it arrives, at each level.

    Args:
        replies: in order of arrival; each is learned from once it has finished.
    """
    finished = sorted(replies, key=lambda reply: reply.finished_at_s)
    said: list[tuple[float, ...]] = []
    learned = 0
    for reply in replies:
        while finished[learned].finished_at_s <= reply.request.arrived_at_s:
            baseline.observe(finished[learned])
            learned += 1
        said.append(tuple(baseline.quantile_s(reply.request, level) for level in levels))
    return said


class Window:
    """The latest values, kept sorted."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, value: float) -> None:
        self._in_order.append(value)
        insort(self._sorted, value)
        if len(self._in_order) > self._size:
            del self._sorted[bisect_left(self._sorted, self._in_order.popleft())]

    def quantile(self, share: float) -> float:
        """Between neighbours where need be; NaN when there is nothing."""
        if not self._sorted:
            return math.nan
        at = share * (len(self._sorted) - 1)
        below = int(at)
        above = min(below + 1, len(self._sorted) - 1)
        return self._sorted[below] + (at - below) * (self._sorted[above] - self._sorted[below])


class Mean:
    """The mean of the latest values; NaN when there is nothing."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: deque[float] = deque()
        self._total = 0.0

    @property
    def count(self) -> int:
        return len(self._values)

    @property
    def mean(self) -> float:
        return self._total / len(self._values) if self._values else math.nan

    def add(self, value: float) -> None:
        self._values.append(value)
        self._total += value
        if len(self._values) > self._size:
            self.drop_oldest()

    def drop_oldest(self) -> None:
        self._total -= self._values.popleft()


def _bucket(request: Request) -> int:
    return round(math.log2(request.prompt_tokens))
