"""Where a load is heading. Samples in, the load to expect out; `now` is an argument."""

import math

_SLOW = 6.0
_MOST_GROWTH = 2.0


class Trend:
    """Two fading means of one load; a steady ramp puts a known distance between them.

    A mean that fades with t lags a ramp of s per second by s x t, so the distance between a quick
    and a slow one gives s (the double exponential smoothing of Brown, 1959).

    Args:
        memory_s: of the quick mean; the slow one remembers six times as long.
    """

    def __init__(self, memory_s: float) -> None:
        self._quick_s, self._slow_s = memory_s, _SLOW * memory_s
        self._quick = self._slow = 0.0
        self._at_s: float | None = None

    @property
    def level(self) -> float:
        """The load of the last moments."""
        return self._quick

    def add(self, load: float, *, now: float) -> None:
        if self._at_s is None:
            self._quick = self._slow = load
        else:
            since_s = max(0.0, now - self._at_s)
            self._quick += (1.0 - math.exp(-since_s / self._quick_s)) * (load - self._quick)
            self._slow += (1.0 - math.exp(-since_s / self._slow_s)) * (load - self._slow)
        self._at_s = now

    def ahead(self, lead_s: float) -> float:
        """The load to expect `lead_s` from now if it goes on growing; at most twice that of now."""
        growth_per_s = max(0.0, self._quick - self._slow) / (self._slow_s - self._quick_s)
        expected = self._quick + growth_per_s * (self._quick_s + lead_s)
        return min(expected, _MOST_GROWTH * self._quick)
