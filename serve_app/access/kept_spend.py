"""Keeps the month's spending at a place, and takes it up again. Knows asyncio; no Ray."""

import asyncio
import logging
from datetime import UTC, date, datetime

from serve_app.access.spend import MonthlySpend
from serve_app.storage.keeper import Keeper
from serve_app.storage.types import Storage, StorageFailed

log = logging.getLogger("ray.serve.tandem")

_SAVE_EVERY_S = 5.0


async def take_up(spend: MonthlySpend, storage: Storage) -> bool:
    """Adds what is kept to what was spent since; False while it cannot be read."""
    try:
        kept = await asyncio.to_thread(storage.load)
    except StorageFailed as err:
        log.error("This month's spending cannot be read; budgets count from 0 until then: %s", err)
        return False
    try:
        if kept is not None:
            spend.restore(kept, today())
    except ValueError as err:
        log.error("This month's spending was damaged and counts from 0: %s", err)
    return True


async def keep(spend: MonthlySpend, storage: Storage, *, is_known: bool) -> None:
    """Saves now and then until cancelled; not before what is there is known, or it were lost."""
    while not is_known:
        await asyncio.sleep(_SAVE_EVERY_S)
        is_known = await take_up(spend, storage)
    await Keeper(storage, spend.dump, _SAVE_EVERY_S).run()


def today() -> date:
    """In UTC, as budgets go by."""
    return datetime.now(UTC).date()
