"""The shared counters: every router's reports in, its leases out; pure, `now` is an argument.

What a router holds as a lease is taken from the key's limit whether it is spent or not, so all
routers together never spend more than the limit. What one of them holds idle while another needs
it is given back within a second.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from serve_app.access.limits.messages import Claim, Lease, Report, Share
from serve_app.access.limits.window import SlidingWindow
from serve_app.access.spend import MonthlySpend

# A router that was not heard of for so long is gone: its leases count as spent, its requests not.
_SILENT_S = 10.0
# How long routers give back at once what they do not need, after somebody missed it.
_CONTESTED_S = 1.0


@dataclass(slots=True)
class _Rate:
    """One rate of one key. held: leases by router."""

    window: SlidingWindow = field(default_factory=SlidingWindow)
    held: dict[str, int] = field(default_factory=dict)

    def share(self, router: str, claim: Claim, limit: int | None, now: float) -> Share | None:
        if limit is None:
            return None
        self.held[router] = max(0, claim.kept)
        used = self.window.used(now)
        elsewhere = sum(self.held.values()) - self.held[router]
        free = limit - used - elsewhere - self.held[router]
        granted = max(0, min(claim.need + claim.wish, free))
        self.held[router] += granted
        missing = claim.need - granted
        clears_in_s = 0.0
        if missing > 0:
            clears_in_s = self.window.clears_in_s(used - missing, now=now)
        return Share(
            self.held[router], max(0, limit - used - elsewhere), clears_in_s,
            elsewhere if missing > 0 else 0,
        )  # fmt: skip

    def forget(self, router: str, now: float) -> None:
        self.window.add(self.held.pop(router, 0), now=now)


@dataclass(slots=True)
class _Slots:
    """Places for requests at the same time. held, running: by router."""

    held: dict[str, int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)

    def share(self, router: str, report: Report) -> Share | None:
        limit = report.limits.concurrent_requests
        self.running[router], self.held[router] = report.running, report.slots_kept
        if limit is None:
            return None
        free = limit - sum(self.held.values())
        granted = max(0, min(report.slots_needed, free))
        self.held[router] += granted
        # Whoever waited for it runs now, which the next report will say.
        self.running[router] += granted
        idle = sum(self.held[other] - self.running[other] for other in self.held if other != router)
        return Share(
            self.held[router], max(0, limit - sum(self.running.values())),
            idle_elsewhere=idle if granted < report.slots_needed else 0,
        )  # fmt: skip

    def forget(self, router: str) -> None:
        self.held.pop(router, None)
        self.running.pop(router, None)


@dataclass(slots=True)
class _Account:
    """One key. contested_at_s: when somebody was last refused for what others held idle.

    usd_numbers: of the last amount that was charged, by router; kept when one falls silent, whose
    last answer may be the one that was lost.
    """

    requests: _Rate = field(default_factory=_Rate)
    tokens: _Rate = field(default_factory=_Rate)
    slots: _Slots = field(default_factory=_Slots)
    contested_at_s: float = -math.inf
    usd_numbers: dict[str, int] = field(default_factory=dict)

    def forget(self, router: str, now: float) -> None:
        self.requests.forget(router, now)
        self.tokens.forget(router, now)
        self.slots.forget(router)


class Books:
    """All keys' counters.

    Args:
        today: the date in UTC, for budgets.
    """

    def __init__(self, today: Callable[[], date]) -> None:
        self._today = today
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        self._heard_at_s: dict[str, float] = {}
        self.spend = MonthlySpend()

    def renew(self, router: str, reports: Mapping[str, Report], *, now: float) -> dict[str, Lease]:
        """Takes a router's reports and renews its leases, by key id."""
        self._forget_silent(now)
        self._heard_at_s[router] = now
        return {key_id: self._renew(router, key_id, r, now) for key_id, r in reports.items()}

    def usage(self, now: float) -> dict[str, dict[str, float]]:
        """By key id: requests and tokens of the last minute, requests running, USD of the month."""
        return {
            key_id: {
                "requests_last_minute": account.requests.window.used(now),
                "tokens_last_minute": account.tokens.window.used(now),
                "running": sum(account.slots.running.values()),
                "usd_this_month": self.spend.spent(key_id, self._today()),
            }
            for key_id, account in self._accounts.items()
        }

    def _renew(self, router: str, key_id: str, report: Report, now: float) -> Lease:
        account = self._accounts[key_id]
        account.tokens.window.add(report.tokens.spent, now=now)
        for age_s, tokens in report.refunds:
            account.tokens.window.refund(tokens, age_s=age_s, now=now)
        account.requests.window.add(report.requests.spent, now=now)
        if report.usd_number != account.usd_numbers.get(router, 0):
            account.usd_numbers[router] = report.usd_number
            self.spend.add(key_id, report.usd, self._today())
        limits = report.limits
        shares = (
            account.requests.share(router, report.requests, limits.requests_per_minute, now),
            account.tokens.share(router, report.tokens, limits.tokens_per_minute, now),
            account.slots.share(router, report),
        )
        if any(share is not None and share.idle_elsewhere for share in shares):
            account.contested_at_s = now
        return Lease(
            *shares,
            usd_spent=self.spend.spent(key_id, self._today()),
            is_contested=now - account.contested_at_s < _CONTESTED_S,
        )

    def _forget_silent(self, now: float) -> None:
        silent = [name for name, at_s in self._heard_at_s.items() if now - at_s > _SILENT_S]
        for router in silent:
            del self._heard_at_s[router]
            for account in self._accounts.values():
                account.forget(router, now)
