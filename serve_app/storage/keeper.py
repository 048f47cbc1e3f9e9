"""Saves state now and then, and at the end. A snapshot function in, saved bytes out."""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable

from serve_app.storage.types import Storage, StorageFailed

log = logging.getLogger("ray.serve.tandem")


class Keeper:
    """Saves a snapshot when its bytes have changed; no failure of the storage leaves it.

    Args:
        snapshot: the state as bytes, taken on the event loop, so it must be quick.
        every_s: seconds between two snapshots.
    """

    def __init__(self, storage: Storage, snapshot: Callable[[], bytes], every_s: float) -> None:
        self._storage = storage
        self._snapshot = snapshot
        self._every_s = every_s
        self._saved: bytes | None = None
        self._is_failing = False
        # A save that a cancellation left behind in its thread must not land after the last one.
        self._one_at_a_time = threading.Lock()

    async def run(self) -> None:
        """Saves every `every_s` seconds until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(self._every_s)
                await self.save()
        finally:
            await self.close()

    async def close(self) -> None:
        """The last save: what changed since the one before it is kept."""
        await self.save()

    async def save(self) -> None:
        """Saves now if something changed. A failure is logged once until a save succeeds."""
        try:
            await asyncio.to_thread(self._store, self._snapshot())
        except StorageFailed as err:
            self._warn("%s Learned state is kept in memory and tried again.", err)
        except Exception as err:
            # Whatever broke, the router goes on: it can learn again what was not saved.
            self._warn("The learned state could not be saved: %r. It is tried again.", err)

    def _store(self, data: bytes) -> None:
        digest = hashlib.blake2b(data).digest()
        with self._one_at_a_time:
            if digest == self._saved:
                return
            self._storage.save(data)
            self._saved = digest
            if self._is_failing:
                log.info("The learned state is saved again.")
            self._is_failing = False

    def _warn(self, message: str, err: Exception) -> None:
        if not self._is_failing:
            log.warning(message, err, exc_info=not isinstance(err, StorageFailed))
        self._is_failing = True
