"""The Serve deployment that holds every key's counters; one replica, shared by all routers."""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime

from ray.serve.handle import DeploymentHandle

from serve_app.access.limits.books import Books
from serve_app.access.limits.messages import Lease, Report
from serve_app.storage.keeper import Keeper
from serve_app.storage.locations import open_storage
from serve_app.storage.types import StorageFailed

log = logging.getLogger("ray.serve.tandem")

_SAVE_EVERY_S = 5.0


class Counters:
    """Answers the routers' reports with leases, and keeps the month's spending on disk.

    Args:
        spend: where the spending is kept, as `auth.spend` says.
    """

    # Serve awaits an async constructor, so the loop that saves runs on the replica's own.
    async def __init__(self, spend: str) -> None:  # type: ignore[misc]
        self._books = Books(_today)
        storage = open_storage(spend)
        try:
            kept = await asyncio.to_thread(storage.load)
            if kept is not None:
                self._books.spend.restore(kept)
        except (StorageFailed, ValueError) as err:
            log.error("This month's spending could not be read and counts from 0: %s", err)
        self._keeper = Keeper(storage, self._books.spend.dump, _SAVE_EVERY_S)
        self._saving = asyncio.create_task(self._keeper.run())

    async def renew(self, router: str, reports: Mapping[str, Report]) -> Mapping[str, Lease]:
        return self._books.renew(router, reports, now=time.monotonic())

    async def usage(self) -> Mapping[str, Mapping[str, float]]:
        return self._books.usage(time.monotonic())


class CountersHandle:
    """The deployment as a router's `Limiter` calls it."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._renew = handle.options(method_name="renew")
        self._usage = handle.options(method_name="usage")

    async def renew(self, router: str, reports: Mapping[str, Report]) -> Mapping[str, Lease]:
        leases: Mapping[str, Lease] = await self._renew.remote(router, reports)
        return leases

    async def usage(self) -> Mapping[str, Mapping[str, float]]:
        usage: Mapping[str, Mapping[str, float]] = await self._usage.remote()
        return usage


def _today() -> date:
    return datetime.now(UTC).date()
