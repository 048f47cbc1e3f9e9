"""Places kept for callers who were told when to come back. `now` is an argument everywhere."""

from bisect import bisect_left, insort
from operator import sub
from typing import Final

_GRACE_S: Final = 3.0
_KEPT_GAIN: Final = 0.05
_MOST: Final = 10_000


class Promises:
    """Who was refused with a Retry-After, when it was for, and whether such callers return.

    A refusal without a kept place only moves the crowd: at three times the capacity, fresh
    requests would take what a caller waited for. So for a promise that is due soon, fresh requests
    see its sequences as load, weighted by the share of callers who do return. That share starts
    at nothing: no place is kept empty before somebody was seen to come back.
    """

    def __init__(self) -> None:
        self._due: list[float] = []
        self._kept_share = 0.0

    @property
    def next_due_s(self) -> float | None:
        """When the longest waiting caller was told to return; None when nobody was."""
        return self._due[0] if self._due else None

    def reserved(self, now: float, *, stay_s: float, leaving_per_s: float) -> float:
        """Places to keep free from a fresh request that would stay so many seconds.

        A caller who returns later finds the places of those who have left by then, so it is the
        moment at which most have come and fewest gone that counts.
        """
        if not self._due:
            return 0.0
        self._expire(now)
        due = self._due[: bisect_left(self._due, now + stay_s)]
        back = (number * self._kept_share for number in range(1, len(due) + 1))
        gone = (leaving_per_s * max(0.0, at_s - now) for at_s in due)
        return max(0.0, max(map(sub, back, gone), default=0.0))

    @property
    def expected(self) -> float:
        """Requests that will probably return, whenever."""
        return len(self._due) * self._kept_share

    def promise(self, due_at_s: float, *, now: float) -> None:
        """Notes a refusal whose Retry-After ends at `due_at_s`."""
        self._expire(now)
        if len(self._due) < _MOST:
            insort(self._due, due_at_s)

    def keep(self, *, now: float) -> None:
        """Notes that a refused caller came back; the oldest promise is taken for his."""
        self._expire(now)
        if self._due:
            del self._due[0]
            self._kept_share += _KEPT_GAIN * (1.0 - self._kept_share)

    def _expire(self, now: float) -> None:
        missed = bisect_left(self._due, now - _GRACE_S)
        if missed:
            del self._due[:missed]
            self._kept_share *= (1.0 - _KEPT_GAIN) ** missed
