"""Places kept for callers who were told when to come back. `now` is an argument everywhere."""

from collections import deque

_GRACE_S = 3.0
_KEPT_GAIN = 0.05
_MOST = 10_000


class Promises:
    """Who was refused with a Retry-After, when it was for, and whether such callers return.

    A refusal without a kept place only moves the crowd: at three times the capacity, fresh
    requests would take what a caller waited for. So until a promise is due and a little longer,
    fresh requests see its sequences as load, weighted by the share of callers who do return.
    """

    def __init__(self) -> None:
        self._due: deque[tuple[float, int]] = deque()
        self._sequences = 0
        self._kept_share = 0.5

    @property
    def next_due_s(self) -> float | None:
        """When the longest waiting caller was told to return; None when nobody was."""
        return self._due[0][0] if self._due else None

    def outstanding(self, now: float) -> float:
        """Sequences that will probably return."""
        self._expire(now)
        return self._sequences * self._kept_share

    def promise(self, due_at_s: float, sequences: int, *, now: float) -> None:
        """Notes a refusal whose Retry-After ends at `due_at_s`."""
        self._expire(now)
        if len(self._due) < _MOST:
            self._due.append((due_at_s, sequences))
            self._sequences += sequences

    def keep(self, *, now: float) -> None:
        """Notes that a refused caller came back; the oldest promise is taken for his."""
        self._expire(now)
        if self._due:
            self._sequences -= self._due.popleft()[1]
            self._kept_share += _KEPT_GAIN * (1.0 - self._kept_share)

    def _expire(self, now: float) -> None:
        while self._due and self._due[0][0] + _GRACE_S < now:
            self._sequences -= self._due.popleft()[1]
            self._kept_share -= _KEPT_GAIN * self._kept_share
