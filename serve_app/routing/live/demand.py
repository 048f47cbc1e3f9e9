"""How much of one tier is wanted, by those it serves and by those it was kept from."""

from collections import deque
from dataclasses import dataclass
from typing import Final

_WINDOW_S: Final = 10
_GAIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Signal:
    """One router's account of one tier, in sequences that decode at the same time.

    outstanding: in flight, or as many as lately arrived work keeps in flight. kept_out: how many
    more there would be, had the tier room for all who wanted it. fits: so many of the kind that
    comes were within their objectives on one replica.
    """

    outstanding: float
    kept_out: float
    fits: float

    @property
    def is_idle(self) -> bool:
        return self.outstanding == 0.0 and self.kept_out == 0.0


class WorkRate:
    """Seconds of predicted work that arrive per second, over the last ten."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, float]] = deque()

    def add(self, work_s: float, *, now: float) -> None:
        self._forget(now)
        if self._seconds and self._seconds[-1][0] == int(now):
            work_s += self._seconds.pop()[1]
        self._seconds.append((int(now), work_s))

    def at(self, now: float) -> float:
        self._forget(now)
        return sum(work_s for _, work_s in self._seconds) / _WINDOW_S

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - _WINDOW_S:
            self._seconds.popleft()


class Demand:
    """Who wants the tier, and at how many sequences its objectives get out of reach.

    Ongoing requests say little of that: a router that keeps objectives sends no more than fit, so
    a tier that is short looks as busy as one that is just right.
    """

    def __init__(self) -> None:
        self._sent = WorkRate()
        self._kept_out = WorkRate()
        self._crowded_fill = 1.0

    def sent(self, work_s: float, fill: float, *, is_crowded: bool, now: float) -> None:
        """Notes a request that goes to the tier.

        Args:
            fill: sequences per decode slot it meets. is_crowded: its objective suffers from them.
        """
        self._sent.add(work_s, now=now)
        if is_crowded or fill > self._crowded_fill:
            self._learn(fill)

    def kept_out(self, work_s: float, fill: float | None, *, now: float) -> None:
        """Notes one that wanted it in vain; fill: None when no replica was there."""
        self._kept_out.add(work_s, now=now)
        if fill is not None:
            self._learn(fill)

    def signal(self, sequences: int, max_num_seqs: int, *, now: float) -> Signal:
        """The account of now. sequences: in flight."""
        return Signal(
            outstanding=max(float(sequences), self._sent.at(now)),
            kept_out=self._kept_out.at(now),
            fits=max(1.0, self._crowded_fill * max_num_seqs),
        )

    def _learn(self, fill: float) -> None:
        self._crowded_fill += _GAIN * (min(1.0, fill) - self._crowded_fill)
