"""The shared counters while they answer, this router's own while they do not."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from serve_app.access.limits.books import Books
from serve_app.access.limits.messages import Lease, Report

log = logging.getLogger("ray.serve.tandem")

_CALL_TIMEOUT_S = 1.0


class Counters(Protocol):
    """The shared counters."""

    async def renew(self, router: str, reports: Mapping[str, Report]) -> Mapping[str, Lease]: ...


class Renewed(NamedTuple):
    """Leases by key id. is_shared: all routers' counters gave them."""

    leases: Mapping[str, Lease]
    is_shared: bool


class CountersOrOwn:
    """Renews leases, whatever becomes of the shared counters.

    Args:
        router: this router's name among those that share. clock: monotonic seconds.
    """

    def __init__(self, shared: Counters, router: str, clock: Callable[[], float]) -> None:
        self._shared = shared
        self._router = router
        self._clock = clock
        self._own = Books(lambda: datetime.now(UTC).date())
        self._is_alone = False

    async def renew(self, reports: Mapping[str, Report]) -> Renewed:
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                leases = await self._shared.renew(self._router, reports)
        except Exception as err:
            # Whatever broke there, callers are served; the limits hold for each router alone.
            if not self._is_alone:
                log.error("The shared counters do not answer (%r): limits hold per router.", err)
            self._is_alone = True
            return Renewed(self._own.renew(self._router, reports, now=self._clock()), False)
        if self._is_alone:
            log.info("The shared counters answer again.")
        self._is_alone = False
        return Renewed(leases, True)
