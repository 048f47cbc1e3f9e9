"""A sum over the last minute. Amounts and times in, sums out; pure."""

_SLOT_S = 1.0
_WINDOW_S = 60.0
# One more than the window has: the oldest slot is only partly inside it and counts in whole, so
# no 60 seconds ever hold more than the limit.
_NUM_SLOTS = int(_WINDOW_S / _SLOT_S) + 1


class SlidingWindow:
    """What was spent in the last 60 seconds, in slots of a second."""

    def __init__(self) -> None:
        self._amounts = [0] * _NUM_SLOTS
        self._newest = 0
        self._total = 0

    def add(self, amount: int, *, now: float) -> None:
        self._advance(now)
        self._amounts[self._newest % _NUM_SLOTS] += amount
        self._total += amount

    def refund(self, amount: int, *, age_s: float, now: float) -> None:
        """Takes back what was spent `age_s` ago, and was counted then or a little later."""
        self._advance(now)
        for back in range(int(max(0.0, age_s) / _SLOT_S), -1, -1):
            if back >= _NUM_SLOTS:
                return
            slot = (self._newest - back) % _NUM_SLOTS
            returned = min(amount, self._amounts[slot])
            self._amounts[slot] -= returned
            self._total -= returned
            amount -= returned

    def used(self, now: float) -> int:
        self._advance(now)
        return self._total

    def clears_in_s(self, amount: int, *, now: float) -> float:
        """Seconds until no more than `amount` is left of what is used now."""
        self._advance(now)
        left = self._total
        if left <= amount:
            return 0.0
        for back in range(_NUM_SLOTS - 1, -1, -1):
            left -= self._amounts[(self._newest - back) % _NUM_SLOTS]
            if left <= amount:
                expires_at_s = (self._newest - back + _NUM_SLOTS) * _SLOT_S
                return max(0.0, expires_at_s - now)
        return _WINDOW_S

    def _advance(self, now: float) -> None:
        slot = int(now / _SLOT_S)
        for passed in range(max(self._newest + 1, slot - _NUM_SLOTS + 1), slot + 1):
            self._total -= self._amounts[passed % _NUM_SLOTS]
            self._amounts[passed % _NUM_SLOTS] = 0
        self._newest = max(self._newest, slot)
