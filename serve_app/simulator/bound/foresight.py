"""A policy that knows every reply's length and the engines themselves, but not who comes next.

At each arrival it plays the engines on, with the request and without noise, and sends it to the
best tier where everybody stays in time; where there is none, it refuses. What it reaches can be
reached, unlike the bound by work alone, which no engine may come near.
"""

from collections.abc import Mapping, Sequence
from math import inf

from serve_app.routing.live.facts import Outcome
from serve_app.routing.types import RoutingRequest
from serve_app.simulator.fleet.members import Fleet, Member
from serve_app.simulator.fleet.tier import SimulatedTier

# Noise can make late what looked just in time.
_MARGIN = 0.98


class Foresight:
    """A rule for requests whose `max_tokens` is their length.

    Args:
        best_first: tiers in the order they are tried.
    """

    def __init__(self, best_first: Sequence[SimulatedTier], fleet: Fleet) -> None:
        self._tiers: Mapping[str, SimulatedTier] = {tier.tier: tier for tier in best_first}
        self._fleet = fleet
        self._due_s: dict[str, float] = {}

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        for name, tier in self._tiers.items():
            member = self._fleet.place(name)
            if member is not None and self._is_possible(tier, member, request, now):
                return name
        return None

    def sent(self, request_id: str, request: RoutingRequest, tier: str, now: float) -> None:
        self._due_s[request_id] = _due_s(request, now)

    def ended(
        self, request_id: str, request: RoutingRequest, tier: str, outcome: Outcome | None
    ) -> None:
        del self._due_s[request_id]

    def _is_possible(
        self, tier: SimulatedTier, member: Member, request: RoutingRequest, now: float
    ) -> bool:
        prompt_tokens, output_tokens = request.prompt_tokens[tier.tier], request.max_tokens or 1
        due_new_s = _due_s(request, now)
        if prompt_tokens + output_tokens > tier.context_tokens:
            return False
        engine = member.replica.foresight()
        engine.submit(
            "new",
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            now=now,
            priority=due_new_s,
        )
        for finished in engine.advance(inf):
            due_s = (
                due_new_s if finished.request_id == "new" else self._due_s[str(finished.request_id)]
            )
            # Who is late already is lost, with or without the new one.
            if finished.finished_at_s > due_s >= now:
                return False
        return True


def _due_s(request: RoutingRequest, now: float) -> float:
    limit_ms = request.slo.e2e_ms
    return inf if limit_ms is None else now + limit_ms / 1000 * _MARGIN
