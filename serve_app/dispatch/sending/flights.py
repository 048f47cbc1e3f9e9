"""Calls under way: keeps the ledger true and the deadline hard, and learns however they end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from serve_app.dispatch.deciding.attempt import Attempt
from serve_app.dispatch.deciding.waiting_room import WaitingRoom
from serve_app.dispatch.sending.flight import Flight
from serve_app.errors import DeadlineExceeded
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.state import TierState


class Flights:
    """Opens a flight per call.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        states: Mapping[str, TierState],
        chooser: Chooser,
        room: WaitingRoom,
        clock: Callable[[], float],
    ) -> None:
        self._states = states
        self._chooser = chooser
        self._room = room
        self._clock = clock

    @asynccontextmanager
    async def open(self, attempt: Attempt, *, is_whole: bool = True) -> AsyncIterator[Flight]:
        """
        Args:
            is_whole: as in `Flight`.

        Raises:
            DeadlineExceeded: the caller's hard deadline came first.
        """
        candidate, request, record = attempt.candidate, attempt.request, attempt.record
        ask, call_id, now = record.ask, attempt.call_id, self._clock()
        record.dispatched_at_s = now
        flight = Flight(self._states[candidate.tier], record, now, self._clock, is_whole=is_whole)
        attempt.journey.sent(candidate.tier, now)
        self._chooser.start(call_id, request, candidate, now=now)
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
            self._chooser.finish(call_id, request, candidate, flight.outcome, now=finished_at_s)
            self._room.wake()
