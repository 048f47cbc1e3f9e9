"""The request path: decide, admit, generate, observe. Knows asyncio; no Ray, no HTTP."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Protocol

from deployments.messages import EngineCall, Head, Reply, Tail
from serve_app.asks import Ask
from serve_app.config import AppConfig
from serve_app.dispatch.calls import engine_call
from serve_app.dispatch.flights import Flights
from serve_app.dispatch.insurance import InsuranceBudget, first_good
from serve_app.dispatch.routes import Routes
from serve_app.dispatch.waiting_room import WaitingRoom
from serve_app.errors import RequestQuarantined, TandemError
from serve_app.prompts import PromptCounter
from serve_app.resilience.continued import Continued
from serve_app.resilience.journey import Journey
from serve_app.resilience.safeguards import Safeguards
from serve_app.resilience.transcript import Transcript
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.facts import Outcome
from serve_app.routing.live.state import TierState
from serve_app.routing.types import Candidate, Decision, RoutingRequest
from serve_app.telemetry.recorder import Recorder
from serve_app.telemetry.records import RequestRecord

_INSURANCE_MARGIN_S = 0.02


class Tier(Protocol):
    """A pool of replicas of one model."""

    async def complete(self, call: EngineCall) -> Reply: ...

    def stream(self, call: EngineCall) -> AsyncGenerator[Head | bytes | Tail, None]: ...


async def _tell_nobody(content: str, replicas: Collection[str]) -> None:
    """There is one router only."""


class Dispatcher:
    """Routes asks to tiers, tries again what a tier failed, and learns from what comes back.

    Args:
        tiers: by id, in the order of the configuration; `states` has the same keys.
        counters: by tier id; filled once a tier has told its tokenizer.
        clock: monotonic seconds. is_going: the whole application is being stopped.
        tell: passes on to all routers' `died` of which content engines died.
    """

    def __init__(
        self,
        config: AppConfig,
        tiers: Mapping[str, Tier],
        states: Mapping[str, TierState],
        counters: Mapping[str, PromptCounter],
        recorder: Recorder,
        clock: Callable[[], float] = time.monotonic,
        is_going: Callable[[], bool] = lambda: False,
        tell: Callable[[str, Collection[str]], Awaitable[None]] = _tell_nobody,
    ) -> None:
        self._config = config
        self._tiers = tiers
        self._states = states
        self._counters = counters
        self._recorder = recorder
        self._clock = clock
        self._tell = tell
        chooser = Chooser(
            states,
            objective=config.routing.objective,
            max_outstanding_s=config.admission.max_outstanding_s,
        )
        room = WaitingRoom(config.admission.max_queued)
        self._safeguards = Safeguards.of(config.resilience, states)
        self._routes = Routes(
            config, states, counters, self._safeguards, chooser, room, clock, is_going
        )
        self._flights = Flights(states, chooser, room, clock)
        self._insurance = InsuranceBudget(config.routing.insurance_budget)

    async def decide(self, ask: Ask) -> Decision:
        """What would be decided now; nothing is sent.

        Raises:
            TandemError: what the caller would be refused with.
        """
        return await self._routes.decide(ask)

    async def complete(self, ask: Ask) -> tuple[Reply, RequestRecord]:
        """Answers an unstreamed ask, on another replica or tier where the first one fails.

        Raises:
            TandemError: as the tree in `serve_app.errors` says.
            asyncio.CancelledError: the caller is gone; the engine has been told.
        """
        with self._recorder.request(ask) as record:
            journey = self._journey(ask)
            while True:
                candidate, request = await self._routes.next(ask, record, journey)
                try:
                    return await self._try(candidate, request, record, journey), record
                except TandemError as error:
                    await self._failed(candidate, error, record, journey)

    async def stream(self, ask: Ask) -> AsyncIterator[RequestRecord | bytes]:
        """Answers a streamed ask: its record once the first token is there, then events.

        An error before the first token is raised in front of the record, so the caller can still
        answer with a status. A stream whose engine fails is continued by another one.
        """
        with self._recorder.request(ask) as record:
            journey, transcript = self._journey(ask), Transcript(ask)
            part = Continued(ask, transcript)
            while True:
                candidate, request = await self._routes.next(part.ask, record, journey)
                try:
                    pieces = self._stream_on(candidate, request, record, journey, part)
                    async with aclosing(pieces):
                        async for piece in pieces:
                            yield piece
                    return
                except TandemError as error:
                    can_retry = part.can_follow
                    await self._failed(candidate, error, record, journey, can_retry=can_retry)
                    part = part.following(self._counters[candidate.tier])
                if part.missing is not None:
                    yield part.missing
                    return

    def died(self, content: str, replicas: Collection[str]) -> None:
        """Takes another router's word for which engines died of a content."""
        for replica in replicas:
            self._safeguards.quarantine.died(content, replica, now=self._clock())

    def _journey(self, ask: Ask) -> Journey:
        journey = Journey(ask, self._safeguards)
        journey.begins(self._clock())
        return journey

    async def _failed(
        self,
        candidate: Candidate,
        error: TandemError,
        record: RequestRecord,
        journey: Journey,
        *,
        can_retry: bool = True,
    ) -> None:
        """Raises the error unless the request may be tried again."""
        tier, now = candidate.tier, self._clock()
        replicas = self._states[tier].num_replicas
        try:
            journey.failed(tier, error, replicas=replicas, now=now, can_retry=can_retry)
        except RequestQuarantined:
            content = journey.content
            await self._tell(content, self._safeguards.quarantine.deaths(content))
            raise
        record.attempts += 1

    async def _try(
        self,
        candidate: Candidate,
        request: RoutingRequest,
        record: RequestRecord,
        journey: Journey,
    ) -> Reply:
        better = record.decision.insured if record.decision else None
        if better is not None and not journey.is_retry and self._insurance.take():
            return await self._complete_insured(request, candidate, better, record, journey)
        reply, outcome = await self._complete_on(candidate, request, record, journey)
        record.usage, record.outcome_of_tier = reply["usage"], outcome
        return reply

    async def _complete_on(
        self,
        candidate: Candidate,
        request: RoutingRequest,
        record: RequestRecord,
        journey: Journey,
        suffix: str = "",
    ) -> tuple[Reply, Outcome | None]:
        suffix += journey.suffix
        call_id = record.ask.request_id + suffix
        async with self._flights.open(candidate, request, record, journey, call_id) as flight:
            call = engine_call(record, candidate, suffix, now=self._clock())
            call["patience_s"] = self._patience_s(candidate)
            reply = await self._tiers[candidate.tier].complete(call)
            journey.answered(candidate.tier)
            return reply, flight.ended(reply)

    async def _stream_on(
        self,
        candidate: Candidate,
        request: RoutingRequest,
        record: RequestRecord,
        journey: Journey,
        part: Continued,
    ) -> AsyncGenerator[RequestRecord | bytes, None]:
        call_id = record.ask.request_id + journey.suffix
        flight_of = self._flights.open(
            candidate, request, record, journey, call_id, is_whole=not part.is_later
        )
        async with flight_of as flight:
            call = engine_call(record, candidate, journey.suffix, now=self._clock(), ask=part.ask)
            call["patience_s"] = self._patience_s(candidate)
            async with aclosing(self._tiers[candidate.tier].stream(call)) as messages:
                async for message in messages:
                    if isinstance(message, bytes):
                        if data := part.passed(message):
                            yield data
                        continue
                    if "status" not in message:
                        journey.answered(candidate.tier)
                        record.usage = part.usage(message["usage"])
                        record.outcome_of_tier = flight.ended(message)
                    elif record.first_token_at_s is None:
                        record.first_token_at_s = self._clock()
                        yield record
                    if data := part.passed(message["data"]):
                        yield data

    def _patience_s(self, candidate: Candidate) -> float:
        """How long the tier may be silent before it is taken for stalled, in seconds."""
        return candidate.forecast.quantile_s(0.99) + self._config.resilience.stalled_after_s

    async def _complete_insured(
        self,
        request: RoutingRequest,
        safe: Candidate,
        better: Candidate,
        record: RequestRecord,
        journey: Journey,
    ) -> Reply:
        """Runs both; the better reply if it is in time, else the safe one. The loser is stopped."""
        ask = record.ask
        limit_s = (ask.slo.e2e_ms or 0.0) / 1000 - _INSURANCE_MARGIN_S
        winner = await first_good(
            self._complete_on(better, request, record, journey, "-insured"),
            self._complete_on(safe, request, record, journey),
            within_s=max(0.0, limit_s - (self._clock() - ask.arrived_at_s)),
        )
        (reply, record.outcome_of_tier), is_better = winner
        if is_better:
            record.candidate = better
        record.is_insured, record.usage = True, reply["usage"]
        return reply
