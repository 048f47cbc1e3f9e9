"""Stops sending to what keeps failing. Failures and successes in, open or not out; no clock.

`now` is monotonic seconds everywhere.
"""


class Breaker:
    """Opens after more than `allowed_fails` failures in a row, for `cooldown_s`.

    After that one call goes through as a probe: its success closes the breaker, its failure, or
    its silence for another `cooldown_s`, leaves it open.
    """

    def __init__(self, allowed_fails: int, cooldown_s: float) -> None:
        self._allowed_fails = allowed_fails
        self._cooldown_s = cooldown_s
        self._num_fails = 0
        self._last_cause: str | None = None
        self._open_until_s: float | None = None

    def is_open(self, now: float) -> bool:
        return self._open_until_s is not None and now < self._open_until_s

    def sent(self, now: float) -> None:
        """Notes a call on its way; with the cooldown over it is the probe, and others wait."""
        if self._open_until_s is not None and now >= self._open_until_s:
            self._open_until_s = now + self._cooldown_s

    def failed(self, now: float, cause: str | None = None) -> None:
        """Counts a failure.

        Args:
            cause: what failed, where that is known. All calls that one dead replica took along
                are one failure.
        """
        if cause is None or cause != self._last_cause:
            self._num_fails += 1
        self._last_cause = cause
        if self._num_fails > self._allowed_fails:
            self.open(now)

    def open(self, now: float) -> None:
        """Whatever was counted: there is nothing behind it now."""
        self._open_until_s = now + self._cooldown_s

    def succeeded(self) -> None:
        self._num_fails = 0
        self._open_until_s = None
