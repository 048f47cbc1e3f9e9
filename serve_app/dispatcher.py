"""The request path: decide, admit, generate, observe. Knows asyncio; no Ray, no HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from deployments.messages import EngineCall, Head, Reply, Tail
from serve_app.asks import Ask
from serve_app.config import AppConfig
from serve_app.dispatch.calls import due_at_s, engine_call
from serve_app.dispatch.flight import Flight
from serve_app.dispatch.insurance import InsuranceBudget, first_good
from serve_app.dispatch.waiting_room import WaitingRoom
from serve_app.errors import DeadlineExceeded, Saturated, Unavailable
from serve_app.prompts import PromptCounter
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.state import Outcome, TierState
from serve_app.routing.types import Candidate, Decision, RoutingRequest
from serve_app.telemetry.recorder import Recorder
from serve_app.telemetry.records import RequestRecord

_TEXT_TO_COUNT_IN_A_THREAD = 40_000
_SHORTEST_WAIT_S = 0.01
_LONGEST_WAIT_S = 1.0
_INSURANCE_MARGIN_S = 0.02


class Tier(Protocol):
    """A pool of replicas of one model."""

    async def complete(self, call: EngineCall) -> Reply: ...

    def stream(self, call: EngineCall) -> AsyncIterator[Head | bytes | Tail]: ...


class Dispatcher:
    """Routes asks to tiers and learns from what comes back.

    Args:
        tiers: by id, in the order of the configuration; `states` has the same keys.
        counters: by tier id; filled once a tier has told its tokenizer.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: AppConfig,
        tiers: Mapping[str, Tier],
        states: Mapping[str, TierState],
        counters: Mapping[str, PromptCounter],
        recorder: Recorder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tiers = tiers
        self._states = states
        self._counters = counters
        self._recorder = recorder
        self._clock = clock
        self._chooser = Chooser(
            states,
            objective=config.routing.objective,
            max_outstanding_s=config.admission.max_outstanding_s,
        )
        self._room = WaitingRoom(config.admission.max_queued)
        self._insurance = InsuranceBudget(config.routing.insurance_budget)

    async def decide(self, ask: Ask) -> Decision:
        """What would be decided now; nothing is sent.

        Raises:
            TandemError: what the caller would be refused with.
        """
        prompt_tokens = await self._prompt_tokens(ask)
        now = self._clock()
        request = ask.routing_request(prompt_tokens, now=now)
        decision = self._chooser.decide(request, now=now)
        if not decision.is_queued or self._room.is_full:
            self._chooser.admit(request, decision, now=now)
        return decision

    async def complete(self, ask: Ask) -> tuple[Reply, RequestRecord]:
        """Answers an unstreamed ask.

        Raises:
            TandemError: as the tree in `serve_app.errors` says.
            asyncio.CancelledError: the caller is gone; the engine has been told.
        """
        with self._recorder.request(ask) as record:
            candidate, request = await self._route(ask, record)
            better = record.decision.insured if record.decision else None
            if better is not None and self._insurance.take():
                return await self._complete_insured(request, candidate, better, record), record
            reply, outcome = await self._complete_on(candidate, request, record)
            record.usage, record.outcome_of_tier = reply["usage"], outcome
        return reply, record

    async def stream(self, ask: Ask) -> AsyncIterator[RequestRecord | bytes]:
        """Answers a streamed ask: its record once the first token is there, then events.

        An error before the first token is raised in front of the record, so the caller can still
        answer with a status.
        """
        with self._recorder.request(ask) as record:
            candidate, request = await self._route(ask, record)
            async with self._in_flight(candidate, request, record) as flight:
                call = engine_call(record, candidate, now=self._clock())
                async for message in self._tiers[candidate.tier].stream(call):
                    if isinstance(message, bytes):
                        yield message
                        continue
                    if "status" in message:
                        record.first_token_at_s = self._clock()
                        yield record
                    else:
                        record.usage = message["usage"]
                        record.outcome_of_tier = flight.ended(message)
                    yield message["data"]

    async def _route(self, ask: Ask, record: RequestRecord) -> tuple[Candidate, RoutingRequest]:
        """Decides, waits where the caller's chain allows it and it helps, and admits."""
        prompt_tokens = await self._prompt_tokens(ask)
        is_expected = ask.is_returning and self._chooser.returned(now=self._clock())
        while True:
            now = self._clock()
            request = ask.routing_request(prompt_tokens, now=now, is_returning=is_expected)
            decision = self._chooser.decide(request, now=now)
            if not decision.is_queued or self._room.is_full:
                break
            await self._room.wait(due_at_s(ask), patience_s=_patience_s(decision))
        record.decision, record.decided_at_s = decision, now
        self._chooser.note(decision)
        try:
            record.candidate = self._chooser.admit(request, decision, now=now)
        except Saturated as refusal:
            self._chooser.refused(request, refusal, now=now)
            raise
        return record.candidate, request

    async def _complete_on(
        self, candidate: Candidate, request: RoutingRequest, record: RequestRecord, suffix: str = ""
    ) -> tuple[Reply, Outcome | None]:
        async with self._in_flight(candidate, request, record, suffix) as flight:
            call = engine_call(record, candidate, suffix, now=self._clock())
            reply = await self._tiers[candidate.tier].complete(call)
            return reply, flight.ended(reply)

    async def _complete_insured(
        self,
        request: RoutingRequest,
        safe: Candidate,
        better: Candidate,
        record: RequestRecord,
    ) -> Reply:
        """Runs both; the better reply if it is in time, else the safe one. The loser is stopped."""
        ask = record.ask
        limit_s = (ask.slo.e2e_ms or 0.0) / 1000 - _INSURANCE_MARGIN_S
        winner = await first_good(
            self._complete_on(better, request, record, "-insured"),
            self._complete_on(safe, request, record),
            within_s=max(0.0, limit_s - (self._clock() - ask.arrived_at_s)),
        )
        (reply, record.outcome_of_tier), is_better = winner
        if is_better:
            record.candidate = better
        record.is_insured, record.usage = True, reply["usage"]
        return reply

    @asynccontextmanager
    async def _in_flight(
        self,
        candidate: Candidate,
        request: RoutingRequest,
        record: RequestRecord,
        suffix: str = "",
    ) -> AsyncIterator[Flight]:
        """Keeps the ledger true and the deadline hard, and learns however the request ends."""
        ask, now = record.ask, self._clock()
        record.dispatched_at_s = now
        flight = Flight(self._states[candidate.tier], record, now, self._clock)
        self._chooser.start(ask.request_id + suffix, request, candidate, now=now)
        try:
            async with asyncio.timeout(ask.deadline_s - (now - ask.arrived_at_s)):
                yield flight
        except TimeoutError as err:
            flight.was_cut_off()
            raise DeadlineExceeded(
                f"The reply was not finished within the hard deadline of {ask.deadline_s:g} s; "
                "generation was stopped. Raise x-request-timeout-seconds or lower max_tokens."
            ) from err
        except (asyncio.CancelledError, GeneratorExit):
            flight.was_cut_off()
            raise
        finally:
            finished_at_s = self._clock()
            self._chooser.finish(
                ask.request_id + suffix, request, candidate, flight.outcome, now=finished_at_s
            )
            self._room.wake()

    async def _prompt_tokens(self, ask: Ask) -> dict[str, int]:
        """Counts with each tier's tokenizer; tiers that share one count once."""
        if not self._counters:
            raise Unavailable("No tier is running yet. Retry when /readyz answers 200.")
        if _text_size(ask) > _TEXT_TO_COUNT_IN_A_THREAD:
            return await asyncio.to_thread(self._count, ask)
        return self._count(ask)

    def _count(self, ask: Ask) -> dict[str, int]:
        counts = {counter: counter.count(ask.body) for counter in set(self._counters.values())}
        # A tier that has not started yet is never chosen; any count will do for its prediction.
        fallback = next(iter(counts.values()))
        return {
            tier: counts[self._counters[tier]] if tier in self._counters else fallback
            for tier in self._tiers
        }


def _patience_s(decision: Decision) -> float:
    """How long waiting can help: until even an idle tier would be too late."""
    wanted = decision.wanted
    if wanted is None or decision.slo.e2e_ms is None:
        return _LONGEST_WAIT_S
    left_s = decision.slo.e2e_ms / 1000 - wanted.elapsed_s - wanted.idle_bound_s
    return min(_LONGEST_WAIT_S, max(_SHORTEST_WAIT_S, left_s))


def _text_size(ask: Ask) -> int:
    prompt = ask.body.get("prompt")
    if isinstance(prompt, str | list):
        return len(prompt)
    return sum(len(str(message.get("content", ""))) for message in ask.body["messages"])
