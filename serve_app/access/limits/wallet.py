"""One key's leases in one router: taken from without a call. Pure, `now` is an argument."""

import math
from dataclasses import dataclass, field

from serve_app.access.limits.messages import Lease, Limits, Report, Share
from serve_app.access.limits.purse import Purse

_IDLE_S = 1.0


@dataclass(slots=True)
class Wallet:
    """All leases of one key.

    slots: requests that may run at once. used_at_s: when it was last taken from. denied_until_s:
    until then the counters need not be asked again. usd: spent and not told yet. usd_told: told,
    by the number `usd_number`, and not known to have arrived.
    """

    limits: Limits
    used_at_s: float
    requests: Purse = field(default_factory=Purse)
    tokens: Purse = field(default_factory=Purse)
    running: int = 0
    slots: int = 0
    slots_needed: int = 0
    slots_share: Share | None = None
    usd: float = 0.0
    usd_told: float = 0.0
    usd_number: int = 0
    usd_spent: float = 0.0
    refunds: list[tuple[float, int]] = field(default_factory=list)
    is_contested: bool = False
    is_known: bool = False
    denied_until_s: float = -math.inf

    def take(self, tokens: int, now: float) -> bool:
        """Takes one request of so many tokens; False when the leases do not cover it."""
        self.used_at_s = now
        limit = self.limits.concurrent_requests
        if limit is not None and self.running >= self.slots:
            return False
        if not self.requests.take(1, self.limits.requests_per_minute):
            return False
        if not self.tokens.take(tokens, self.limits.tokens_per_minute):
            # Put back: the request was not admitted.
            self.requests.spent -= 1
            self.requests.kept += self.limits.requests_per_minute is not None
            return False
        self.running += 1
        return True

    def settle(self, charged: int, used: int, usd: float, *, taken_at_s: float) -> None:
        """A request has ended: gives its place back and corrects what it was charged."""
        self.running -= 1
        self.usd += usd
        self.denied_until_s = -math.inf
        if used < charged and self.tokens.spent < charged - used:
            # Told already: taken back from where it was counted.
            self.refunds.append((taken_at_s, charged - used))
            return
        self.tokens.spent += used - charged
        if used < charged and self.limits.tokens_per_minute is not None:
            self.tokens.kept += charged - used

    def report(self, now: float) -> tuple[Report, int, int]:
        """The report, and what of requests and tokens it says are kept."""
        is_idle = self.is_contested or now - self.used_at_s > _IDLE_S
        if is_idle:
            self.slots = min(self.slots, self.running + self.slots_needed)
        self.slots = max(self.slots, self.running)
        if self.usd and not self.usd_told:
            self.usd_told, self.usd = self.usd, 0.0
            self.usd_number += 1
        report = Report(
            limits=self.limits,
            requests=self.requests.claim(self.limits.requests_per_minute, is_idle=is_idle),
            tokens=self.tokens.claim(self.limits.tokens_per_minute, is_idle=is_idle),
            refunds=tuple((now - at_s, amount) for at_s, amount in self.refunds),
            running=self.running,
            slots_kept=self.slots,
            slots_needed=max(0, self.running + self.slots_needed - self.slots),
            usd=self.usd_told,
            usd_number=self.usd_number,
        )
        self.refunds.clear()
        return report, self.requests.kept, self.tokens.kept

    def renewed(
        self,
        lease: Lease,
        requests_kept: int,
        tokens_kept: int,
        *,
        is_shared: bool,
    ) -> None:
        """Takes the answer to a report; one of this router's own counters knows no spending."""
        self.requests.renewed(lease.requests, requests_kept)
        self.tokens.renewed(lease.tokens, tokens_kept)
        self.slots_share = lease.slots
        if lease.slots is not None:
            self.slots = lease.slots.kept
        if is_shared:
            self.usd_spent, self.usd_told = lease.usd_spent, 0.0
        self.is_contested = lease.is_contested
        self.is_known = True

    @property
    def is_low(self) -> bool:
        """Worth a call in the background, so that the next request finds enough."""
        return not self.is_contested and (
            self.requests.is_low(self.limits.requests_per_minute)
            or self.tokens.is_low(self.limits.tokens_per_minute)
        )

    @property
    def is_quiet(self) -> bool:
        """Nothing to tell, held or to be heard: need not be renewed."""
        return not (
            self.running or self.slots or self.requests.kept or self.tokens.kept
            or self.requests.spent or self.tokens.spent or self.refunds
            or self.usd or self.usd_told
            or self.slots_needed or self.requests.need or self.tokens.need
            # Only the counters say when another month has begun.
            or self.is_budget_spent
        )  # fmt: skip

    @property
    def is_full(self) -> bool:
        """As many requests run as may, here or elsewhere."""
        return self.limits.concurrent_requests is not None and self.running >= self.slots

    @property
    def has_idle(self) -> bool:
        """Holds something that nothing here needs."""
        return (
            self.slots > self.running + self.slots_needed
            or self.requests.kept > self.requests.need
            or self.tokens.kept > self.tokens.need
        )

    @property
    def is_idle_elsewhere(self) -> bool:
        """What is missing here, other routers hold and have not spent."""
        shares = (self.requests.share, self.tokens.share, self.slots_share)
        return any(share is not None and share.idle_elsewhere for share in shares)

    @property
    def usd_this_month(self) -> float:
        return self.usd_spent + self.usd_told + self.usd

    @property
    def is_budget_spent(self) -> bool:
        limit = self.limits.usd_per_month
        return limit is not None and self.usd_this_month >= limit
