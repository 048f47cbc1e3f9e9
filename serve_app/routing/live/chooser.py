"""The whole brain behind one interface: decide, admit, start, finish. `now` is an argument.

The server's dispatcher and the simulator call the same object; neither knows what is inside.
"""

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

from mypy_extensions import mypyc_attr

from serve_app.config import Objective
from serve_app.errors import Saturated
from serve_app.routing.admission import admit, drains_after_s, possible_when_idle
from serve_app.routing.candidate import Candidate
from serve_app.routing.decision import Decision
from serve_app.routing.live.facts import Outcome
from serve_app.routing.live.ledger import Work
from serve_app.routing.live.state import TierState
from serve_app.routing.policy import choose
from serve_app.routing.types import RoutingRequest, TierView

_FELT_LOSS: Final = 0.1
_LEAST_S: Final = 1e-6


@mypyc_attr(allow_interpreted_subclasses=True)
class Chooser:
    """Chooses tiers for requests and learns from how they end.

    Args:
        states: by tier id, in the order of the configuration.
        max_outstanding_s: most work ahead of an admitted request, in seconds.
    """

    def __init__(
        self,
        states: Mapping[str, TierState],
        *,
        objective: Objective,
        max_outstanding_s: float,
    ) -> None:
        self._states = states
        self._objective = objective
        self._max_outstanding_s = max_outstanding_s

    def decide(self, request: RoutingRequest, *, now: float) -> Decision:
        """What is best now; changes nothing."""
        return choose(request, self._views(request, now), objective=self._objective)

    def admit(self, request: RoutingRequest, decision: Decision, *, now: float) -> Candidate:
        """The selected candidate, or the refusal as `routing.admission.admit` raises it."""
        retry_after_s = {
            candidate.tier: self._drains_after_s(request, candidate.tier, now)
            for candidate in possible_when_idle(decision)
        }
        limit_s = self._max_outstanding_s
        return admit(decision, max_outstanding_s=limit_s, retry_after_s=retry_after_s)

    def returned(self, *, now: float) -> bool:
        """Notes a caller who says he was told to come back; the longest waiting promise is his.

        False when nobody is expected: saying so alone opens no door.
        """
        promised = [state.promises for state in self._states.values() if state.promises.next_due_s]
        if not promised:
            return False
        min(promised, key=lambda promises: promises.next_due_s or 0.0).keep(now=now)
        return True

    def refused(self, request: RoutingRequest, refusal: Saturated, *, now: float) -> None:
        """Keeps a place for a caller that was told when to come back."""
        if refusal.tier is not None:
            promises = self._states[refusal.tier].promises
            promises.promise(now + refusal.retry_after_s, now=now)

    def note(self, decision: Decision) -> None:
        """Tells the best tier whether it was crowded; what its capacity is worth follows."""
        by_quality = sorted(decision.candidates, key=attrgetter("quality"), reverse=True)
        best = next((c for c in by_quality if c.is_feasible_when_idle), None)
        if best is None or best.quality <= by_quality[-1].quality:
            return
        if best.excluded == "class-share":
            # Its class keeps it out, whatever the tier's load.
            return
        state, is_crowded, worth = self._states[best.tier], not best.is_feasible, None
        # Most of the time nobody is kept out, and what a request would gain need not be known.
        if is_crowded or state.price.is_short:
            worth = _worth(best, by_quality)
            if worth is None:
                return
        state.was_wanted(worth, is_crowded=is_crowded)

    def wanted(self, request: RoutingRequest, decision: Decision, *, now: float) -> None:
        """Tells the tier that suits a new request best how much it is wanted, served or not."""
        selected, best = decision.selected, self._best_with_room(request, decision)
        if best is not None and best is not selected:
            work_s = best.idle_e2e_s * request.sequences
            # How full it was says nothing where it was not its load that kept the request out.
            fill = None if best.excluded in ("starting", "class-share") else best.fill
            self._states[best.tier].demand.kept_out(work_s, fill, now=now)
        if selected is not None:
            work_s = selected.e2e_s * request.sequences
            self._states[selected.tier].demand.sent(
                work_s, selected.fill, is_crowded=_is_crowded(selected), now=now
            )

    def start(
        self, request_id: str, request: RoutingRequest, candidate: Candidate, *, now: float
    ) -> None:
        """Notes a request that is sent to its tier now."""
        state, time = self._states[candidate.tier], candidate.time
        work = Work(
            prompt_tokens=candidate.prompt_tokens,
            sequences=request.sequences,
            ttft_s=time.ttft_s,
            e2e_s=candidate.e2e_s,
            prefill_s=time.prefill_s,
            slot_s=state.slot_s(candidate),
            share_key=request.share_key,
        )
        state.ledger.start(request_id, work, now=now, slots=state.slots)

    def finish(
        self,
        request_id: str,
        request: RoutingRequest,
        candidate: Candidate,
        outcome: Outcome | None,
        *,
        now: float,
    ) -> None:
        """Notes that it is over, and learns from it; `outcome` is None when it says nothing."""
        state = self._states[candidate.tier]
        met = state.ledger.finish(request_id, replicas=state.num_replicas, now=now)
        if outcome is None:
            return
        # Not the caller's max_tokens but the one in force: a fitted reply is cut by ours.
        most = candidate.length.most
        query = request.length_query(candidate.prompt_tokens, candidate.prompt_tokens + most)
        state.observe(candidate, query, outcome, met, now=now)

    def _best_with_room(self, request: RoutingRequest, decision: Decision) -> Candidate | None:
        """What would be selected if every tier had as many replicas as it wants."""
        selected, wanted = decision.selected, decision.wanted
        least = selected.quality if selected is not None and selected.is_feasible else -math.inf
        asleep = [
            candidate for candidate in decision.candidates
            if candidate.excluded == "starting"
            and candidate.quality > least
            and (
                candidate.tier == request.pinned_tier
                # Nothing is known of a tier that never ran; it is tried once.
                or not self._states[candidate.tier].has_run
                or candidate.reaches_when_idle
            )
        ]  # fmt: skip
        others = asleep if wanted is None else [*asleep, wanted]
        return max(others, key=lambda candidate: candidate.quality, default=None)

    def _views(self, request: RoutingRequest, now: float) -> list[TierView]:
        return [
            state.view(now, share_key=request.share_key, is_returning=request.is_returning)
            for state in self._states.values()
        ]

    def _drains_after_s(self, request: RoutingRequest, tier: str, now: float) -> float:
        state = self._states[tier]
        view = state.view(now, share_key=request.share_key, is_returning=True)
        return drains_after_s(
            request,
            view,
            state.ledger,
            promised=state.promises.expected,
            replicas=state.num_replicas,
            now=now,
        )


def _is_crowded(selected: Candidate) -> bool:
    """Whether an idle tier would be much likelier to meet an objective that is likely missed."""
    if selected.is_feasible:
        return False
    return selected.idle_probability - selected.probability > _FELT_LOSS


def _worth(best: Candidate, by_quality: Sequence[Candidate]) -> float | None:
    """What a request gains on its best tier over the next best, per second of work there."""
    others = (c for c in by_quality if c is not best and c.is_feasible_when_idle)
    second = next(others, None)
    if second is None or second.quality >= best.quality:
        return None
    work_s = best.idle_e2e_s * best.length.sequences
    return (best.quality - second.quality) / max(work_s, _LEAST_S)
