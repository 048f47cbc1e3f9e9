"""How processes changed over a long run. Traces in, Growth out."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.bench.soak.processes import Sample, Trace

NUM_WINDOWS = 12
# Caches fill and allocators settle before memory tells anything.
WARM_UP_SHARE = 0.25
_MB = 1e6
_LEAST_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Growth:
    """How a process changed once it was warm.

    by_twelfth_mb: medians over the whole run, cold start included; fewer if it was not there all
    the time. descriptors: medians of the first and of the last quarter once warm. cpu_share: of
    one core, over the whole run.
    """

    name: str
    pid: int
    first_mb: float
    last_mb: float
    mb_per_hour: float
    by_twelfth_mb: tuple[float, ...]
    descriptors: tuple[float, float]
    cpu_share: float


def growth(trace: Trace, duration_s: float) -> Growth | None:
    """None for a process that was not there long enough to have a slope."""
    warm = [sample for sample in trace.samples if sample.at_s >= WARM_UP_SHARE * duration_s]
    if len(warm) < _LEAST_SAMPLES:
        return None
    memory_mb = [sample.uss_bytes / _MB for sample in warm]
    hours = [sample.at_s / 3600 for sample in warm]
    quarter = max(1, len(warm) // 4)
    first, last = trace.samples[0], trace.samples[-1]
    return Growth(
        name=trace.name,
        pid=trace.pid,
        first_mb=first.uss_bytes / _MB,
        last_mb=last.uss_bytes / _MB,
        mb_per_hour=statistics.linear_regression(hours, memory_mb).slope,
        by_twelfth_mb=tuple(_memory_mb(window) for window in _windows(trace, duration_s) if window),
        descriptors=(_descriptors(warm[:quarter]), _descriptors(warm[-quarter:])),
        cpu_share=(last.cpu_s - first.cpu_s) / max(1e-9, last.at_s - first.at_s),
    )


def _windows(trace: Trace, duration_s: float) -> list[list[Sample]]:
    windows: list[list[Sample]] = [[] for _ in range(NUM_WINDOWS)]
    for sample in trace.samples:
        windows[min(NUM_WINDOWS - 1, int(sample.at_s / duration_s * NUM_WINDOWS))].append(sample)
    return windows


def _memory_mb(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.uss_bytes for sample in samples) / _MB


def _descriptors(samples: Sequence[Sample]) -> float:
    return statistics.median(sample.descriptors for sample in samples)
