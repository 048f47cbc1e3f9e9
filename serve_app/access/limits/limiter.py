"""Holds callers to their keys' limits, together with the other routers. Knows asyncio; no Ray.

A request takes from leases this router already has; only when they do not cover it, it waits for
the shared counters. Leases are renewed in the background.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from serve_app.access.fallback import Counters, CountersOrOwn
from serve_app.access.keys.key import Key
from serve_app.access.limits.messages import Limits
from serve_app.access.limits.permit import Permit
from serve_app.access.limits.refusals import (
    budget_spent,
    refuse_impossible,
    too_many_at_once,
    too_many_per_minute,
)
from serve_app.access.limits.wallet import Wallet

log = logging.getLogger("ray.serve.tandem")

_PERIOD_S = 0.5
# Other routers give back what they hold idle within a period and a call.
_PATIENCE_S = 1.2
_BETWEEN_TRIES_S = 0.05
_DENIED_S = 0.1
_TELL_AFTER_S = 0.05


class Limiter:
    """Admits requests of known keys.

    Args:
        router: this router's name among those that share the counters. clock: monotonic seconds.
    """

    def __init__(self, counters: Counters, router: str, clock: Callable[[], float]) -> None:
        self._counters = CountersOrOwn(counters, router, clock)
        self._clock = clock
        self._wallets: dict[str, Wallet] = {}
        self._wake = asyncio.Event()
        self._telling: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def admit(self, key: Key, tokens: int) -> Permit:
        """Takes one request of `tokens` from the key's limits; settle what you get.

        Raises:
            RateLimited: with the time after which it fits. QuotaExceeded: the month's budget is
            spent. InvalidRequest: it is larger than a whole minute's tokens.
        """
        wallet = self._wallet(key)
        refuse_impossible(wallet.limits, tokens)
        if wallet.is_budget_spent:
            raise budget_spent(wallet, datetime.now(UTC))
        if not wallet.take(tokens, self._clock()):
            await self._fetch(wallet, tokens)
        if wallet.is_low or not wallet.is_known:
            self._wake.set()
        return Permit(wallet, tokens, self._clock, self._settled)

    async def run(self) -> None:
        """Renews leases until cancelled, then gives them back."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PERIOD_S):
                        await self._wake.wait()
                self._wake.clear()
                try:
                    await self._round()
                except Exception:
                    # A defect must not end this loop: requests wait for its rounds.
                    log.exception("Leases could not be renewed; trying again.")
        finally:
            for wallet in self._wallets.values():
                wallet.is_contested = True
            await self._round()
            # What was spent behind an amount whose answer was still awaited.
            if any(wallet.usd for wallet in self._wallets.values()):
                await self._round()

    async def _fetch(self, wallet: Wallet, tokens: int) -> None:
        """Waits until the leases cover the request, or raises what refuses it."""
        if wallet.denied_until_s > self._clock():
            raise self._refusal(wallet, tokens)
        give_up_at_s = self._clock() + _PATIENCE_S
        while True:
            await self._asked_for(wallet, tokens)
            if wallet.take(tokens, self._clock()):
                return
            if not wallet.is_idle_elsewhere or self._clock() > give_up_at_s:
                # A flood of refused requests must not become a flood of calls.
                wallet.denied_until_s = self._clock() + _DENIED_S
                raise self._refusal(wallet, tokens)
            await asyncio.sleep(_BETWEEN_TRIES_S)

    def _refusal(self, wallet: Wallet, tokens: int) -> Exception:
        if wallet.is_full:
            return too_many_at_once(wallet)
        return too_many_per_minute(wallet, tokens)

    async def _asked_for(self, wallet: Wallet, tokens: int) -> None:
        """Returns after a round that knew of this need."""
        wallet.requests.need += 1
        wallet.tokens.need += tokens
        wallet.slots_needed += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        try:
            await done
        finally:
            wallet.requests.need -= 1
            wallet.tokens.need -= tokens
            wallet.slots_needed -= 1

    def _settled(self, wallet: Wallet) -> None:
        """Tells soon that a place is free, when others may be waiting for it."""
        if wallet.limits.concurrent_requests is not None and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_TELL_AFTER_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._wake.set()

    async def _round(self) -> None:
        waiting, self._waiting = self._waiting, []
        now = self._clock()
        wallets = {key_id: w for key_id, w in self._wallets.items() if not w.is_quiet}
        told = {key_id: wallet.report(now) for key_id, wallet in wallets.items()}
        try:
            if told:
                reports = {key_id: report for key_id, (report, *_) in told.items()}
                renewed = await self._counters.renew(reports)
                for key_id, lease in renewed.leases.items():
                    _, *kept = told[key_id]
                    self._wallets[key_id].renewed(lease, *kept, is_shared=renewed.is_shared)
        finally:
            for done in waiting:
                if not done.done():
                    done.set_result(None)
        # Those who waited take what they got before any of it is given back.
        await asyncio.sleep(0)
        if any(wallet.is_contested and wallet.has_idle for wallet in wallets.values()):
            self._wake.set()

    def _wallet(self, key: Key) -> Wallet:
        limits = Limits.of(key)
        wallet = self._wallets.get(key.id)
        if wallet is None:
            wallet = self._wallets[key.id] = Wallet(limits, self._clock())
        elif wallet.limits != limits:
            wallet.limits = limits
        return wallet
