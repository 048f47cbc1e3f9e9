"""Where a request goes next: decides, goes round what fails, waits, admits."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from serve_app.asks import Ask
from serve_app.config import AppConfig
from serve_app.dispatch.deciding.attempt import Attempt
from serve_app.dispatch.deciding.detours import Detours
from serve_app.dispatch.deciding.prompt_lengths import PromptLengths
from serve_app.dispatch.deciding.waiting_room import WaitingRoom
from serve_app.errors import NotBegun, Saturated, ShuttingDown, Unavailable
from serve_app.prompts import PromptCounter
from serve_app.resilience.journey import Journey
from serve_app.resilience.safeguards import Safeguards
from serve_app.routing.candidate import Candidate
from serve_app.routing.decision import Decision, Reason
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest, Slo
from serve_app.telemetry.records import RequestRecord

_SHORTEST_WAIT_S = 0.01
_LONGEST_WAIT_S = 1.0
_RECOVERY_POLL_S = 0.1


class Routes:
    """Decides for new requests and for those that a tier failed.

    Args:
        states: by tier id. counters: by tier id; filled once a tier has told its tokenizer.
        clock: monotonic seconds. is_going: as in `Dispatcher`.
    """

    def __init__(
        self,
        config: AppConfig,
        states: Mapping[str, TierState],
        counters: Mapping[str, PromptCounter],
        safeguards: Safeguards,
        chooser: Chooser,
        room: WaitingRoom,
        clock: Callable[[], float],
        is_going: Callable[[], bool],
    ) -> None:
        self._config = config
        self._counters = counters
        self._lengths = PromptLengths(states, counters)
        self._safeguards = safeguards
        self._chooser = chooser
        self._room = room
        self._clock = clock
        self._is_going = is_going
        self._detours = Detours(config, states)
        by_signal = config.scaling.by == "router-signal"
        self._sleepers = {t.model_id for t in config.llm_configs if by_signal and t.may_sleep}

    async def decide(self, ask: Ask) -> Decision:
        """What would be decided now; nothing is sent.

        Raises:
            TandemError: what the caller would be refused with.
        """
        prompt_tokens = await self._lengths.of(ask)
        now = self._clock()
        request = self._with_room(ask.routing_request(prompt_tokens, now=now))
        decision = self._around(request, frozenset(), now)
        if not decision.is_queued:
            self._chooser.admit(request, decision, now=now)
        return decision

    async def next(self, ask: Ask, record: RequestRecord, journey: Journey) -> Attempt:
        """The try to make now; waits where that can help.

        Args:
            ask: what is to be sent, which for a continued stream is not what the caller sent.

        Raises:
            TandemError: it cannot be served, and why.
        """
        if journey.backoff_s:
            await self._room.pause(journey.backoff_s)
        prompt_tokens = await self._lengths.of(ask)
        is_expected = ask.is_returning and self._chooser.returned(now=self._clock())
        waited_since_s = self._clock()
        is_new = not journey.is_retry
        while True:
            now = self._clock()
            request = self._with_room(
                ask.routing_request(prompt_tokens, now=now, is_returning=is_expected)
            )
            if journey.is_retry:
                # It was admitted once; time that failures took from it is no reason to refuse it.
                request = replace(request, slo=_without_refusals(request.slo))
            decision = self._around(request, journey.left_tiers, now, journey.last_failed)
            if is_new:
                # Once, however often it is decided anew while it waits.
                self._chooser.wanted(request, decision, now=now)
                is_new = False
            if decision.is_queued:
                self._require_time(ask, "No tier could begin it in time")
                await self._room.wait(ask.due_at_s, patience_s=self._patience_s(ask, decision))
                continue
            try:
                candidate = self._admitted(request, decision, record, journey, now)
                return Attempt(candidate, request, record, journey)
            except Unavailable as err:
                if self._is_going():
                    raise ShuttingDown("All tiers are being stopped, and this router too.") from err
                if not self._may_recover(ask, now - waited_since_s):
                    raise
            await self._room.pause(_RECOVERY_POLL_S)
            self._require_time(ask, "No tier came back in time")

    def _with_room(self, request: RoutingRequest) -> RoutingRequest:
        """The request, which cannot wait where the waiting room is full; the rest it asks holds."""
        if not self._room.is_full:
            return request
        steps = tuple(step for step in request.slo.on_infeasible if step != "queue")
        return replace(request, slo=replace(request.slo, on_infeasible=steps))

    def _require_time(self, ask: Ask, why_not: str) -> None:
        """Raises NotBegun when the hard deadline has come."""
        if self._clock() - ask.arrived_at_s >= ask.deadline_s:
            raise NotBegun(f"{why_not}: the hard deadline was {ask.deadline_s:g} s.")

    def _patience_s(self, ask: Ask, decision: Decision) -> float:
        """How long waiting can help: until even an idle tier would be too late."""
        left_s = ask.deadline_s - (self._clock() - ask.arrived_at_s)
        wanted = decision.wanted
        if wanted is not None and decision.slo.e2e_ms is not None:
            still_s = decision.slo.e2e_ms / 1000 - wanted.request.elapsed_s - wanted.idle_bound_s
            left_s = min(left_s, still_s)
        return min(_LONGEST_WAIT_S, max(_SHORTEST_WAIT_S, left_s))

    def _may_recover(self, ask: Ask, waited_s: float) -> bool:
        """Whether a tier may be back in time: one that ran before, or that starts when wanted."""
        if self._room.is_full:
            return False
        pinned = ask.pinned_tier
        if pinned in self._sleepers or (pinned is None and self._sleepers):
            return waited_s < self._config.scaling.hold_s
        has_run = pinned is None or pinned in self._counters
        return has_run and waited_s < self._config.resilience.recovery_s

    def _around(
        self, request: RoutingRequest, left: frozenset[str], now: float, failed: str | None = None
    ) -> Decision:
        """The chooser's decision, unless it falls on a tier that is to be avoided."""
        decision = self._detours.within_context(
            request, self._chooser.decide(request, now=now), now
        )
        avoided = left | self._safeguards.open_tiers(now)
        if decision.selected is None or decision.selected.tier not in avoided:
            if failed is None or decision.selected is None or decision.selected.tier == failed:
                return decision
            return replace(decision, reason="fallback-error")
        reason: Reason = "fallback-error" if decision.selected.tier in left else "breaker-open"
        detour = self._detours.around(request, decision, avoided, now)
        return decision if detour is None else replace(detour, reason=reason)

    def _admitted(
        self,
        request: RoutingRequest,
        decision: Decision,
        record: RequestRecord,
        journey: Journey,
        now: float,
    ) -> Candidate:
        record.decision, record.decided_at_s = decision, now
        if journey.is_retry and decision.selected is not None:
            record.candidate = decision.selected
            return decision.selected
        self._chooser.note(decision)
        try:
            record.candidate = self._chooser.admit(request, decision, now=now)
        except Saturated as refusal:
            self._chooser.refused(request, refusal, now=now)
            raise
        return record.candidate


def _without_refusals(slo: Slo) -> Slo:
    """The objective of one that is answered in any case; shortened, where it asked for that."""
    steps = tuple(step for step in slo.on_infeasible if step in ("fit", "degrade"))
    return replace(slo, on_infeasible=(*steps, "degrade"))
