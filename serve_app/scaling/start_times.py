"""How long a tier takes to start a replica, as it was seen. `now` is an argument."""

_GAIN = 0.5


class StartTimes:
    """Times from an order to the replica that serves.

    Args:
        assumed_s: until one was seen.
    """

    def __init__(self, assumed_s: float) -> None:
        self.usual_s = assumed_s
        self._ordered_at_s: list[float] = []
        self._running = self._target = 0
        self._has_seen = False

    def look(self, running: int, target: int, *, now: float) -> None:
        """Notes how many replicas serve, and how many are asked for."""
        for _ in range(running - self._running):
            if self._ordered_at_s:
                self._learn(now - self._ordered_at_s.pop(0))
        if target > self._target:
            self._ordered_at_s += [now] * (target - self._target)
        # Orders that were taken back, and replicas that came without one.
        del self._ordered_at_s[max(0, target - running) :]
        self._running, self._target = running, target

    def _learn(self, start_s: float) -> None:
        gain = _GAIN if self._has_seen else 1.0
        self.usual_s += gain * (start_s - self.usual_s)
        self._has_seen = True
