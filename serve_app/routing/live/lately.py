"""How busy a tier was lately, and since any moment. `now` is an argument everywhere."""

import math
from typing import Final

_MEMORY_S: Final = 30.0
_LEAST_JUDGED_S: Final = 2.0


class Lately:
    """Time that sequences spent on a tier and that prefills blocked it.

    sequence_s, prefill_s: since the beginning; two readings tell of the time between them. Sums
    that fade are divided by time that fades alike, so that a router that has just begun judges by
    what it has seen.
    """

    def __init__(self) -> None:
        self.sequence_s = 0.0
        self.prefill_s = 0.0
        self._faded_sequence_s = 0.0
        self._faded_prefill_s = 0.0
        self._faded_s = 0.0
        self._until_s: float | None = None

    def pass_time(self, sequences: float, *, now: float) -> None:
        """Counts the time since the last call, in which so many sequences were there."""
        since_s = self._since_s(now)
        faded = math.exp(-since_s / _MEMORY_S)
        sequence_s = sequences * since_s
        self.sequence_s += sequence_s
        self._faded_sequence_s = self._faded_sequence_s * faded + sequence_s
        self._faded_prefill_s *= faded
        self._faded_s = self._faded_s * faded + since_s
        self._until_s = now

    def prefilled(self, prefill_s: float) -> None:
        """Counts a prefill that is done."""
        self.prefill_s += prefill_s
        self._faded_prefill_s += prefill_s

    def means(self, sequences: float, *, now: float) -> tuple[float, float] | None:
        """Mean sequences, and share of time in prefill, over the last half minute at most.

        Args:
            sequences: there since the last call of `pass_time`.

        Returns:
            None before any time has passed.
        """
        since_s = self._since_s(now)
        faded = math.exp(-since_s / _MEMORY_S)
        time_s = self._faded_s * faded + since_s
        if time_s <= 0.0:
            return None
        sequence_s = self._faded_sequence_s * faded + sequences * since_s
        # Half a second is little to judge an arrival rate by.
        blocked_share = self._faded_prefill_s * faded / max(_LEAST_JUDGED_S, time_s)
        return sequence_s / time_s, blocked_share

    def _since_s(self, now: float) -> float:
        return now - self._until_s if self._until_s is not None and now > self._until_s else 0.0
