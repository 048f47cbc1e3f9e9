"""The request path: where to, send, and again where that failed. Knows asyncio; no Ray, no HTTP."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing

from deployments.messages import Reply
from serve_app.asks import Ask
from serve_app.config import AppConfig
from serve_app.dispatch.deciding.attempt import Attempt
from serve_app.dispatch.deciding.routes import Routes
from serve_app.dispatch.deciding.waiting_room import WaitingRoom
from serve_app.dispatch.sending.flights import Flights
from serve_app.dispatch.sending.insurance import InsuranceBudget
from serve_app.dispatch.sending.sender import Sender, Tier
from serve_app.errors import RequestQuarantined, TandemError
from serve_app.prompts import PromptCounter
from serve_app.resilience.continued import Continued
from serve_app.resilience.journey import Journey
from serve_app.resilience.safeguards import Safeguards
from serve_app.resilience.transcript import Transcript
from serve_app.routing.decision import Decision
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.state import TierState
from serve_app.telemetry.recorder import Recorder
from serve_app.telemetry.records import RequestRecord

Begun = Callable[[RequestRecord], None]
"""Told of a request's record when it begins."""


def _noted_by_nobody(record: RequestRecord) -> None:
    """Whoever asks learns of it with the reply."""


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
        self._sender = Sender(
            tiers,
            Flights(states, chooser, room, clock),
            InsuranceBudget(config.routing.insurance_budget),
            config.resilience.stalled_after_s,
            clock,
        )

    async def decide(self, ask: Ask) -> Decision:
        """What would be decided now; nothing is sent.

        Raises:
            TandemError: what the caller would be refused with.
        """
        return await self._routes.decide(ask)

    async def complete(
        self, ask: Ask, begun: Begun = _noted_by_nobody
    ) -> tuple[Reply, RequestRecord]:
        """Answers an unstreamed ask, on another replica or tier where the first one fails.

        Args:
            begun: told of the record at once, which says what was used also where nothing is
                returned.

        Raises:
            TandemError: as the tree in `serve_app.errors` says.
            asyncio.CancelledError: the caller is gone; the engine has been told.
        """
        with self._recorder.request(ask) as record:
            begun(record)
            journey = self._journey(ask)
            while True:
                attempt = await self._routes.next(ask, record, journey)
                try:
                    return await self._sender.complete(attempt), record
                except TandemError as error:
                    await self._failed(attempt, error)

    async def stream(
        self, ask: Ask, begun: Begun = _noted_by_nobody
    ) -> AsyncIterator[RequestRecord | bytes]:
        """Answers a streamed ask: its record once the first token is there, then events.

        An error before the first token is raised in front of the record, so the caller can still
        answer with a status. A stream whose engine fails is continued by another one.
        """
        with self._recorder.request(ask) as record:
            begun(record)
            journey, transcript = self._journey(ask), Transcript(ask)
            part = Continued(ask, transcript)
            while True:
                attempt = await self._routes.next(part.ask, record, journey)
                try:
                    async with aclosing(self._sender.stream(attempt, part)) as pieces:
                        async for piece in pieces:
                            yield piece
                    return
                except TandemError as error:
                    await self._failed(attempt, error, can_retry=part.can_follow)
                    part = part.following(self._counters[attempt.tier])
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
        self, attempt: Attempt, error: TandemError, *, can_retry: bool = True
    ) -> None:
        """Raises the error unless the request may be tried again."""
        tier, journey, now = attempt.tier, attempt.journey, self._clock()
        replicas = self._states[tier].num_replicas
        try:
            journey.failed(tier, error, replicas=replicas, now=now, can_retry=can_retry)
        except RequestQuarantined:
            content = journey.content
            await self._tell(content, self._safeguards.quarantine.deaths(content))
            raise
        attempt.record.attempts += 1
