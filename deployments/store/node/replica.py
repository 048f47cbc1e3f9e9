"""What a replica does before its engine starts: on each of its nodes, the model from the store.

Ray Serve LLM calls this by its `callback_config`. A source without our manifest is left to Ray's
own download.
"""

import asyncio
import logging
import os
from typing import Any

from ray.llm._internal.common.callbacks.base import CallbackBase

from deployments.local_models import tandem_home
from deployments.store.manifest import Manifest
from deployments.store.node.cache import Held, node_cache
from deployments.store.places import open_place
from deployments.store.places.types import OnBytes
from deployments.store.transfer.push import published_manifest
from deployments.store.verify import not_published

log = logging.getLogger("ray.serve.tandem")


class FromStore(CallbackBase):  # type: ignore[misc]
    """Pins the published version in the replica, and has each node pull exactly that one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._uri = str(self.llm_config.model_loading_config.model_source)
        self._manifest: Manifest | None = None
        self._held: Held | None = None

    async def on_before_node_init(self) -> None:
        """In the replica: which version, and so which folder.

        Raises:
            StoreFailed: the place refuses, or is a folder without a manifest.
        """
        place = open_place(self._uri)
        self._manifest = await asyncio.to_thread(published_manifest, place)
        if self._manifest is None:
            if not self._uri.startswith("s3://"):
                raise not_published(place)
            log.info("%s has no manifest of ours; Ray downloads it", self._uri)
            return
        engine = self.llm_config.get_engine_config()
        cache = node_cache(tandem_home(), os.environ)
        engine.hf_model_id = str(cache.folder_of(place, self._manifest))
        engine.mirror_config = None

    def on_before_download_model_files_distributed(self) -> None:
        """On each node of the replica, in a task of its own."""
        if self._manifest is not None:
            self._obtain(self._manifest).release()

    async def on_after_node_init(self) -> None:
        """In the replica again: its model is not evicted while it lives."""
        if self._manifest is not None:
            self._held = await asyncio.to_thread(self._obtain, self._manifest)

    def _obtain(self, manifest: Manifest) -> Held:
        cache = node_cache(tandem_home(), os.environ)
        return cache.obtain(open_place(self._uri), manifest, _logged)


def _logged(phase: str, num_bytes: int) -> OnBytes:
    """A line in the replica's log when a phase begins and at each tenth of it."""
    log.info("model store: %s %.2f GB", phase, num_bytes / 1e9)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        if num_bytes and before * 10 // num_bytes < done * 10 // num_bytes:
            log.info("model store: %s %d %%", phase, done * 100 // num_bytes)

    return on_bytes
