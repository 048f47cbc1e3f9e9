"""Other tiers for a request whose own is to be avoided or too small. Decisions in and out."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from serve_app.config import AppConfig
from serve_app.routing.decision import Decision
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest


class Detours:
    """Asks the same policy again, among the tiers that are left.

    Where the configuration lists fallbacks for a tier, they are asked in that order; elsewhere a
    request that names no tier may go to any other, and one that names its tier to none.
    `now` is monotonic seconds.
    """

    def __init__(self, config: AppConfig, states: Mapping[str, TierState]) -> None:
        self._config = config
        self._states = states
        self._choosers: dict[frozenset[str], Chooser] = {}

    def around(
        self, request: RoutingRequest, decision: Decision, avoided: frozenset[str], now: float
    ) -> Decision | None:
        """The decision without the tiers to be avoided; None when there is nowhere else to go."""
        selected = decision.selected
        if selected is None:
            return None
        listed = self._config.resilience.fallbacks.get(selected.tier)
        for other in self._attempts(request, listed, avoided, now):
            if other.selected is not None:
                return _explained(decision, other)
        return None

    def within_context(self, request: RoutingRequest, decision: Decision, now: float) -> Decision:
        """The decision, or that for the tier that `context_window_fallbacks` has instead."""
        pinned = request.pinned_tier
        listed = self._config.resilience.context_window_fallbacks.get(pinned or "")
        if not listed or not any(
            c.tier == pinned and c.excluded == "context-window" for c in decision.candidates
        ):
            return decision
        for other in self._attempts(request, listed, frozenset(), now):
            if other.selected is not None:
                return replace(_explained(decision, other), reason="context-window")
        return decision

    def _attempts(
        self,
        request: RoutingRequest,
        listed: tuple[str, ...] | None,
        avoided: frozenset[str],
        now: float,
    ) -> Iterator[Decision]:
        for tier in listed or ():
            if tier not in avoided:
                pinned = replace(request, pinned_tier=tier)
                yield self._among(frozenset([tier])).decide(pinned, now=now)
        others = frozenset(self._states) - avoided
        if listed is None and request.pinned_tier is None and others:
            yield self._among(others).decide(request, now=now)

    def _among(self, tiers: frozenset[str]) -> Chooser:
        """The policy over some of the tiers, on the same states."""
        if tiers not in self._choosers:
            self._choosers[tiers] = Chooser(
                {tier: state for tier, state in self._states.items() if tier in tiers},
                objective=self._config.routing.objective,
                max_outstanding_s=self._config.admission.max_outstanding_s,
            )
        return self._choosers[tiers]


def _explained(decision: Decision, other: Decision) -> Decision:
    """The other decision, beside all candidates of the first."""
    again = {candidate.tier: candidate for candidate in other.candidates}
    candidates = tuple(again.get(c.tier, c) for c in decision.candidates)
    return replace(other, candidates=candidates)
