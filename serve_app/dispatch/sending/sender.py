"""Carries one attempt through: sends it, passes on what comes back, notes what came of it."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from deployments.messages import EngineCall, Head, Reply, Tail
from serve_app.asks import Ask
from serve_app.dispatch.deciding.attempt import Attempt
from serve_app.dispatch.sending.calls import engine_call
from serve_app.dispatch.sending.flights import Flights
from serve_app.dispatch.sending.insurance import InsuranceBudget, first_good
from serve_app.resilience.continued import Continued
from serve_app.routing.candidate import Candidate
from serve_app.routing.live.facts import Outcome
from serve_app.telemetry.records import RequestRecord

_INSURANCE_MARGIN_S = 0.02
_END_OF_EVENT = b"\n\n"


class Tier(Protocol):
    """A pool of replicas of one model."""

    async def complete(self, call: EngineCall) -> Reply: ...

    def stream(self, call: EngineCall) -> AsyncGenerator[Head | bytes | Tail, None]: ...


class Sender:
    """Sends attempts to their tiers; the attempt's record learns counts and outcome.

    Args:
        tiers: by id. clock: monotonic seconds.
        stalled_after_s: silence beyond the predicted time that is taken for a stall.
    """

    def __init__(
        self,
        tiers: Mapping[str, Tier],
        flights: Flights,
        insurance: InsuranceBudget,
        stalled_after_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._tiers = tiers
        self._flights = flights
        self._insurance = insurance
        self._stalled_after_s = stalled_after_s
        self._clock = clock

    async def complete(self, attempt: Attempt) -> Reply:
        """The whole reply, from two tiers at once where the decision insures.

        Raises:
            TandemError: the tier failed or refused, or the deadline came first.
        """
        record = attempt.record
        better = record.decision.insured if record.decision else None
        if better is not None and not attempt.journey.is_retry and self._insurance.take():
            return await self._complete_insured(attempt, better)
        reply, record.outcome_of_tier = await self._complete(attempt)
        record.usage = reply["usage"]
        return reply

    async def stream(
        self, attempt: Attempt, part: Continued
    ) -> AsyncGenerator[RequestRecord | bytes, None]:
        """The record once the request's first token is there, then the part's events.

        Raises:
            TandemError: as `complete` does; also in the middle.
        """
        record = attempt.record
        async with self._flights.open(attempt, is_whole=not part.is_later) as flight:
            call = self._call(attempt, part.ask)
            async with aclosing(self._tiers[attempt.tier].stream(call)) as messages:
                async for message in messages:
                    if isinstance(message, bytes):
                        record.num_events += message.count(_END_OF_EVENT)
                        if data := part.passed(message):
                            yield data
                        continue
                    if "status" not in message:
                        attempt.journey.answered(attempt.tier)
                        record.usage = part.usage(message["usage"])
                        record.outcome_of_tier = flight.ended(message)
                    elif record.first_token_at_s is None:
                        record.first_token_at_s = self._clock()
                        yield record
                    record.num_events += message["data"].count(_END_OF_EVENT)
                    if data := part.passed(message["data"]):
                        yield data

    async def _complete_insured(self, safe: Attempt, better: Candidate) -> Reply:
        """Runs both; the better reply if it is in time, else the safe one. The loser is stopped."""
        record, ask = safe.record, safe.record.ask
        limit_s = (ask.slo.e2e_ms or 0.0) / 1000 - _INSURANCE_MARGIN_S
        winner = await first_good(
            self._complete(replace(safe, candidate=better, label="~insured")),
            self._complete(safe),
            within_s=max(0.0, limit_s - (self._clock() - ask.arrived_at_s)),
        )
        (reply, record.outcome_of_tier), is_better = winner
        if is_better:
            record.candidate = better
        record.is_insured, record.usage = True, reply["usage"]
        return reply

    async def _complete(self, attempt: Attempt) -> tuple[Reply, Outcome | None]:
        async with self._flights.open(attempt) as flight:
            call = self._call(attempt, attempt.record.ask)
            reply = await self._tiers[attempt.tier].complete(call)
            attempt.journey.answered(attempt.tier)
            return reply, flight.ended(reply)

    def _call(self, attempt: Attempt, ask: Ask) -> EngineCall:
        return engine_call(attempt, ask, stalled_after_s=self._stalled_after_s, now=self._clock())
