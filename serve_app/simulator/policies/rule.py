"""Turns a simple rule into a policy of the simulated world. Requests in, tier names out."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from serve_app.errors import ContextWindowExceeded, Saturated
from serve_app.routing.candidate import Candidate
from serve_app.routing.decision import Decision
from serve_app.routing.live.facts import Outcome
from serve_app.routing.types import RoutingRequest, Slo
from serve_app.simulator.fleet.tier import SimulatedTier

_RETRY_AFTER_S = 1.0


class Rule(Protocol):
    """Picks a tier; told when a request is sent and how it ended."""

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        """A tier, or None to refuse."""
        ...

    def sent(self, request_id: str, request: RoutingRequest, tier: str, now: float) -> None: ...

    def ended(
        self, request_id: str, request: RoutingRequest, tier: str, outcome: Outcome | None
    ) -> None: ...


class Unlearning:
    """A rule that needs not be told anything."""

    def sent(self, request_id: str, request: RoutingRequest, tier: str, now: float) -> None:
        return

    def ended(
        self, request_id: str, request: RoutingRequest, tier: str, outcome: Outcome | None
    ) -> None:
        return


class RulePolicy:
    """A rule as a policy. A prompt that does not fit the picked tier goes to the first it fits."""

    def __init__(self, rule: Rule, tiers: Sequence[SimulatedTier], slo: Slo) -> None:
        self._rule = rule
        self._contexts = {tier.tier: tier.context_tokens for tier in tiers}
        candidates = {tier.tier: tier.candidate(slo) for tier in tiers}
        self._candidates: Mapping[str, Candidate] = candidates
        # Nothing in them depends on the request, so one of each will do.
        self._decisions = {
            tier: Decision(candidate, None, slo, (candidate,))
            for tier, candidate in candidates.items()
        }
        self._refusal = Decision(None, None, slo, tuple(candidates.values()))

    def decide(self, request: RoutingRequest, *, now: float) -> Decision:
        tier = request.pinned_tier or self._rule.pick(request, now)
        if tier is None:
            return self._refusal
        if request.prompt_tokens[tier] < self._contexts[tier]:
            return self._decisions[tier]
        fitting = (t for t, most in self._contexts.items() if request.prompt_tokens[t] < most)
        tier = next(fitting, None)
        return self._refusal if tier is None else self._decisions[tier]

    def admit(self, request: RoutingRequest, decision: Decision, *, now: float) -> Candidate:
        if decision.selected is not None:
            return decision.selected
        if all(request.prompt_tokens[t] >= most for t, most in self._contexts.items()):
            raise ContextWindowExceeded("The prompt fits no tier.", param="messages")
        raise Saturated("Refused by the rule.", retry_after_s=_RETRY_AFTER_S)

    def note(self, decision: Decision) -> None:
        return

    def refused(self, request: RoutingRequest, refusal: Saturated, *, now: float) -> None:
        return

    def returned(self, *, now: float) -> bool:
        return False

    def start(
        self, request_id: str, request: RoutingRequest, candidate: Candidate, *, now: float
    ) -> None:
        self._rule.sent(request_id, request, candidate.tier, now)

    def finish(
        self,
        request_id: str,
        request: RoutingRequest,
        candidate: Candidate,
        outcome: Outcome | None,
        *,
        now: float,
    ) -> None:
        self._rule.ended(request_id, request, candidate.tier, outcome)
