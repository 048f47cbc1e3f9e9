"""Where requests wait until a tier could meet their SLO. Earliest deadline first; asyncio only."""

import asyncio
from heapq import heappop, heappush
from itertools import count


class WaitingRoom:
    """Wakes the most urgent waiter for each request that ends.

    A waiter decides again when it is woken and comes back if that did not help, so nothing is
    promised here; and it leaves by itself when waiting longer would be hopeless.

    Args:
        capacity: most waiters; more are refused.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: list[tuple[float, int, asyncio.Event]] = []
        self._order = count()
        self.num_waiting = 0

    @property
    def is_full(self) -> bool:
        return self.num_waiting >= self._capacity

    async def wait(self, deadline_s: float, *, patience_s: float) -> None:
        """Returns when it is worth deciding again, at the latest after `patience_s`.

        Args:
            deadline_s: orders the waiters; any clock, the same for all.
        """
        woken = asyncio.Event()
        heappush(self._waiting, (deadline_s, next(self._order), woken))
        self.num_waiting += 1
        try:
            async with asyncio.timeout(patience_s):
                await woken.wait()
        except TimeoutError:
            return
        except asyncio.CancelledError:
            if woken.is_set():
                # What he was woken for is the next one's.
                self.wake()
            raise
        finally:
            self.num_waiting -= 1
            # Whoever left unwoken is passed over when his turn comes.
            woken.set()

    async def pause(self, seconds: float) -> None:
        """Waits for nothing but time, and takes up a place meanwhile."""
        self.num_waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.num_waiting -= 1

    def wake(self) -> None:
        """Lets the most urgent waiter decide again."""
        while self._waiting:
            woken = heappop(self._waiting)[2]
            if not woken.is_set():
                woken.set()
                return
