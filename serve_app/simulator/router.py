"""What a simulated world asks of whatever decides in it."""

from dataclasses import dataclass
from typing import Protocol

from serve_app.errors import Saturated
from serve_app.routing.candidate import Candidate
from serve_app.routing.decision import Decision
from serve_app.routing.live.facts import Outcome
from serve_app.routing.types import RoutingRequest
from serve_app.simulator.fleet.members import ReplicaLoad


class Policy(Protocol):
    """What decides; see `routing.live.chooser.Chooser`."""

    def decide(self, request: RoutingRequest, *, now: float) -> Decision: ...

    def admit(self, request: RoutingRequest, decision: Decision, *, now: float) -> Candidate: ...

    def note(self, decision: Decision) -> None: ...

    def refused(self, request: RoutingRequest, refusal: Saturated, *, now: float) -> None: ...

    def returned(self, *, now: float) -> bool: ...

    def start(
        self, request_id: str, request: RoutingRequest, candidate: Candidate, *, now: float
    ) -> None: ...

    def finish(
        self,
        request_id: str,
        request: RoutingRequest,
        candidate: Candidate,
        outcome: Outcome | None,
        *,
        now: float,
    ) -> None: ...


class Informed(Protocol):
    """A policy that is told what else happens, as a server's router is."""

    def scaled(self, tier: str, num_replicas: int) -> None: ...

    def reported(self, tier: str, replica: int, load: ReplicaLoad, *, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Router:
    """One of the routers that share the tiers. informed: the policy, when it wants to be told."""

    policy: Policy
    informed: Informed | None = None
