"""The Serve deployment that holds every key's counters; one replica, shared by all routers."""

import asyncio
import time
from collections.abc import Mapping

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.local_models import tandem_home
from serve_app.access.kept_spend import keep, take_up, today
from serve_app.access.limits.books import Books
from serve_app.access.limits.messages import Lease, Report
from serve_app.storage.locations import open_storage


class Counters:
    """Answers the routers' reports with leases, and keeps the month's spending on disk.

    Args:
        spend: where the spending is kept, as `auth.spend` says; None for this machine.
    """

    # Serve awaits an async constructor, so the loop that saves runs on the replica's own.
    async def __init__(self, spend: str | None) -> None:  # type: ignore[misc]
        self._books = Books(today)
        # Two applications on one machine must not write over each other.
        app_name = serve.get_replica_context().app_name
        storage = open_storage(spend or str(tandem_home() / "spend" / f"{app_name}.json"))
        is_known = await take_up(self._books.spend, storage)
        saving = keep(self._books.spend, storage, is_known=is_known)
        self._saving = asyncio.create_task(saving)

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
