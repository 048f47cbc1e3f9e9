"""One rate's lease in one router: spent without a call. Pure."""

from dataclasses import dataclass

from serve_app.access.limits.messages import Claim, Share

# What is fetched ahead, as a share of the limit: few calls, and little for others to miss. More
# where single requests take more, up to a tenth.
_AHEAD = 0.01
_MOST_AHEAD = 0.1


@dataclass(slots=True)
class Purse:
    """One rate. kept: may be spent. spent: not reported yet. need: of requests that wait.

    usual: what one request takes.
    """

    kept: int = 0
    spent: int = 0
    need: int = 0
    usual: int = 1
    share: Share | None = None

    def take(self, amount: int, limit: int | None) -> bool:
        """Spends, when there is enough."""
        self.usual = amount
        if limit is not None:
            if self.kept < amount:
                return False
            self.kept -= amount
        self.spent += amount
        return True

    def claim(self, limit: int | None, *, is_idle: bool) -> Claim:
        """What is told; from now on it counts as told."""
        if is_idle:
            self.kept = min(self.kept, self.need)
        wish = 0 if is_idle else max(0, self._ahead(limit) - self.kept)
        claim = Claim(self.spent, self.kept, max(0, self.need - self.kept), wish)
        self.spent = 0
        return claim

    def is_low(self, limit: int | None) -> bool:
        """Less than half of what should be at hand."""
        return 2 * self.kept < self._ahead(limit)

    def _ahead(self, limit: int | None) -> int:
        if limit is None:
            return 0
        return max(1, round(limit * _AHEAD), round(min(2 * self.usual, limit * _MOST_AHEAD)))

    def renewed(self, share: Share | None, reported_kept: int) -> None:
        """Takes the new lease; what was spent since the report comes off it."""
        self.share = share
        if share is not None:
            self.kept = share.kept - (reported_kept - self.kept)

    @property
    def remaining(self) -> int:
        """Left in all, as far as is known here."""
        return max(0, self.share.remaining - self.spent) if self.share is not None else 0
