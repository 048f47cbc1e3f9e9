"""One request in a simulated world: what is asked, and what became of it. Data only."""

from dataclasses import dataclass

from serve_app.routing.decision import Decision
from serve_app.routing.record import record
from serve_app.routing.types import RoutingRequest
from serve_app.simulator.trace import Request


@record
class Arrival:
    """One request and what its caller wants; `asked` is what routing is told of it.

    patience: how often the caller comes back when told to.
    """

    request: Request
    asked: RoutingRequest
    patience: int = 0


@dataclass(slots=True)
class Result:
    """What became of one request; seconds. refusals: how often it was told to come back."""

    arrival: Arrival
    tier: str | None = None
    sent_at_s: float | None = None
    finished_at_s: float | None = None
    refusals: int = 0
    last_asked_at_s: float = 0.0
    decision: Decision | None = None

    @property
    def is_served(self) -> bool:
        return self.finished_at_s is not None

    @property
    def e2e_s(self) -> float | None:
        """From the last time it was asked, which is what its SLO counts."""
        return None if self.finished_at_s is None else self.finished_at_s - self.last_asked_at_s

    @property
    def is_slo_met(self) -> bool:
        limit_ms = self.arrival.asked.slo.e2e_ms
        e2e_s = self.e2e_s
        return e2e_s is not None and (limit_ms is None or e2e_s * 1000 <= limit_ms)
