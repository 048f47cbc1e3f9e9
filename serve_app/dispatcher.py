"""The request path: decide, admit, generate, observe. Knows asyncio; no Ray, no HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from deployments.messages import EngineCall, Head, Reply, Tail
from serve_app.asks import Ask
from serve_app.config import AppConfig
from serve_app.errors import DeadlineExceeded, Unavailable
from serve_app.prompts import PromptCounter
from serve_app.routing.admission import admit
from serve_app.routing.policy import choose
from serve_app.routing.state import TierState
from serve_app.routing.types import Candidate, Decision
from serve_app.telemetry.recorder import Recorder
from serve_app.telemetry.records import RequestRecord

_TEXT_TO_COUNT_IN_A_THREAD = 40_000
_PRIORITY_PER_S = 100


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
        self._config = config
        self._tiers = tiers
        self._states = states
        self._counters = counters
        self._recorder = recorder
        self._clock = clock

    async def decide(self, ask: Ask) -> Decision:
        """What would be decided now; nothing is sent."""
        request = ask.routing_request(await self._prompt_tokens(ask))
        now = self._clock()
        views = [state.view(now) for state in self._states.values()]
        return choose(request, views, objective=self._config.routing.objective)

    async def complete(self, ask: Ask) -> tuple[Reply, RequestRecord]:
        """Answers an unstreamed ask.

        Raises:
            TandemError: as the tree in `serve_app.errors` says.
            asyncio.CancelledError: the caller is gone; the engine has been told.
        """
        with self._recorder.request(ask) as record:
            candidate = await self._route(ask, record)
            async with self._in_flight(ask, candidate, record):
                reply = await self._tiers[candidate.tier].complete(
                    self._call(ask, candidate, record)
                )
            self._learn(candidate, record, reply)
        return reply, record

    async def stream(self, ask: Ask) -> AsyncIterator[RequestRecord | bytes]:
        """Answers a streamed ask: its record once the first token is there, then events.

        An error before the first token is raised in front of the record, so the caller can still
        answer with a status.
        """
        with self._recorder.request(ask) as record:
            candidate = await self._route(ask, record)
            async with self._in_flight(ask, candidate, record):
                messages = self._tiers[candidate.tier].stream(self._call(ask, candidate, record))
                async for message in messages:
                    if isinstance(message, bytes):
                        yield message
                        continue
                    if "status" in message:
                        record.first_token_at_s = self._clock()
                        yield record
                    else:
                        self._learn(candidate, record, message)
                    yield message["data"]

    async def _route(self, ask: Ask, record: RequestRecord) -> Candidate:
        decision = await self.decide(ask)
        record.decision = decision
        record.decided_at_s = self._clock()
        limit_s = self._config.admission.max_outstanding_s
        record.candidate = admit(decision, max_outstanding_s=limit_s)
        return record.candidate

    @asynccontextmanager
    async def _in_flight(
        self, ask: Ask, candidate: Candidate, record: RequestRecord
    ) -> AsyncIterator[None]:
        """Keeps the ledger true and the deadline hard, however the request ends."""
        now = self._clock()
        left_s = ask.deadline_s - (now - ask.arrived_at_s)
        record.dispatched_at_s = now
        with self._counted(ask, candidate, now):
            try:
                async with asyncio.timeout(left_s):
                    yield
            except TimeoutError as err:
                raise DeadlineExceeded(
                    f"The reply was not finished within the hard deadline of {ask.deadline_s:g} s; "
                    "generation was stopped. Raise x-request-timeout-seconds or lower max_tokens."
                ) from err

    @contextmanager
    def _counted(self, ask: Ask, candidate: Candidate, now: float) -> Iterator[None]:
        ledger = self._states[candidate.tier].ledger
        ledger.start(
            ask.request_id,
            candidate.time,
            prompt_tokens=candidate.prompt_tokens,
            sequences=ask.sequences,
            now=now,
        )
        try:
            yield
        finally:
            ledger.finish(ask.request_id)

    def _learn(self, candidate: Candidate, record: RequestRecord, last: Reply | Tail) -> None:
        now = self._clock()
        record.usage = last["usage"]
        state = self._states[candidate.tier]
        state.ledger.report(last["load"], now=now)
        if record.usage is None or record.dispatched_at_s is None:
            return
        output_tokens = max(1, record.usage["completion_tokens"] // record.ask.sequences)
        limit = record.ask.max_tokens
        state.observe(
            candidate,
            output_tokens=output_tokens,
            is_cut=limit is not None and output_tokens >= limit,
            actual_s=now - record.dispatched_at_s,
        )

    def _call(self, ask: Ask, candidate: Candidate, record: RequestRecord) -> EngineCall:
        return {
            "endpoint": ask.endpoint,
            "request_id": ask.request_id,
            "body": ask.body | {"model": candidate.tier},
            "priority": self._priority(ask),
            "headers": dict(record.trace_headers),
        }

    def _priority(self, ask: Ask) -> int:
        """The caller's own, else the deadline: vLLM serves the lowest number first, so EDF.

        On the wall clock, because routers on several machines share the engine's queue.
        """
        if ask.priority is not None:
            return ask.priority
        limit_s = ask.slo.e2e_ms / 1000 if ask.slo.e2e_ms is not None else ask.deadline_s
        left_s = limit_s - (self._clock() - ask.arrived_at_s)
        return round((time.time() + left_s) * _PRIORITY_PER_S)

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


def _text_size(ask: Ask) -> int:
    prompt = ask.body.get("prompt")
    if isinstance(prompt, str | list):
        return len(prompt)
    return sum(len(str(message.get("content", ""))) for message in ask.body["messages"])
