"""Bounds retries, so that a failing fleet is not buried under them. Counts in, yes or no out."""

# Calls in flight on a replica that dies are all retried at once, however few came before.
_RESERVE = 256.0


class RetryBudget:
    """A share of a retry is saved with each request; a burst may use up what was saved.

    Args:
        share: retries per request in the long run, 0 to 1.
    """

    def __init__(self, share: float, reserve: float = _RESERVE) -> None:
        self._share = share
        self._reserve = reserve
        self._saved = reserve if share else 0.0

    def request(self) -> None:
        self._saved = min(self._reserve, self._saved + self._share)

    def take(self) -> bool:
        """True when one more retry may be made, which is then counted."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
