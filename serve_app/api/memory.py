"""What was learned, across restarts: states in, bytes kept; bytes found, states restored."""

import asyncio
import logging
from collections.abc import Mapping

import orjson

from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.live.state import TierState
from serve_app.storage.keeper import Keeper
from serve_app.storage.types import Storage, StorageFailed

log = logging.getLogger("ray.serve.tandem")

_VERSION = 1


class Memory:
    """Restores the tiers' learned state at start and saves it while the router runs.

    Each tier takes its part up when its engine turns out to be the one it was learned from.
    """

    def __init__(
        self,
        states: Mapping[str, TierState],
        all_lengths: OutputLengths,
        storage: Storage,
        *,
        every_s: float,
    ) -> None:
        self._states = states
        self._all_lengths = all_lengths
        self._storage = storage
        self._keeper = Keeper(storage, self._snapshot, every_s)

    async def run(self) -> None:
        """Restores, then saves until cancelled, and once more then."""
        await self.restore()
        await self._keeper.run()

    async def restore(self) -> None:
        """Takes up what was kept; what cannot be read is learned again."""
        try:
            data = await asyncio.to_thread(self._storage.load)
            kept = orjson.loads(data) if data is not None else {}
        except (StorageFailed, orjson.JSONDecodeError) as err:
            log.warning("Learned state could not be restored, it is learned again: %s", err)
            return
        if not isinstance(kept, dict) or kept.get("version") != _VERSION:
            return
        try:
            self._all_lengths.restore(kept["all_lengths"])
        except (ValueError, KeyError, TypeError) as err:
            log.warning("Learned reply lengths could not be restored: %r", err)
        tiers = kept.get("tiers")
        for tier, snapshot in tiers.items() if isinstance(tiers, dict) else ():
            if tier in self._states and isinstance(snapshot, dict):
                self._states[tier].restore(snapshot)

    def _snapshot(self) -> bytes:
        tiers = {tier: state.snapshot() for tier, state in self._states.items()}
        return orjson.dumps(
            {
                "version": _VERSION,
                "tiers": {tier: kept for tier, kept in tiers.items() if kept is not None},
                "all_lengths": self._all_lengths.snapshot(),
            }
        )
