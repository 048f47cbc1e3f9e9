"""Where lengths and SLOs of a load come from: a trace, or a usual mix. Settings in, Asked out."""

from dataclasses import dataclass, replace
from pathlib import Path

from serve_app.bench.traffic.workload import (
    Asked,
    constant,
    lognormal_lengths,
    replayed,
    scaled,
)
from serve_app.simulator.trace import Request, read_trace

SEED = 4
# Without a trace: median in tokens and spread of the logarithm.
_PROMPT, _REPLY = (120.0, 0.6), (32.0, 0.6)
_NUM_LENGTHS = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """Requests to draw from; slo_s: the same for all, None for a mix."""

    requests: tuple[Request, ...]
    slo_s: float | None

    @classmethod
    def of(cls, trace: str | Path | None, scale: float, slo_ms: float | None) -> "Source":
        """
        Raises:
            ValueError: the trace is none.
        """
        if trace is None:
            lengths = lognormal_lengths(_PROMPT, _REPLY, count=_NUM_LENGTHS, seed=SEED)
        else:
            lengths = read_trace(Path(trace))
        return cls(tuple(scaled(lengths, scale)), None if slo_ms is None else slo_ms / 1e3)

    @property
    def count(self) -> int:
        return len(self.requests)

    @property
    def rate_per_s(self) -> float:
        """Of the trace itself; infinite when all arrive at once."""
        span_s = self.requests[-1].arrived_at_s - self.requests[0].arrived_at_s
        return (self.count - 1) / span_s if span_s > 0 else float("inf")

    def constant(self, *, rate_per_s: float, duration_s: float) -> list[Asked]:
        """Evenly spaced."""
        asked = constant(self.requests, rate_per_s=rate_per_s, duration_s=duration_s, seed=SEED)
        return [self._with_slo(one) for one in asked]

    def replayed(self, *, rate_per_s: float, duration_s: float) -> list[Asked]:
        """As the trace's own requests arrived, at this mean rate.

        Raises:
            ValueError: they all arrive at once.
        """
        asked = replayed(self.requests, rate_per_s=rate_per_s, duration_s=duration_s, seed=SEED)
        return [self._with_slo(one) for one in asked]

    def _with_slo(self, asked: Asked) -> Asked:
        return asked if self.slo_s is None else replace(asked, slo_s=self.slo_s)
