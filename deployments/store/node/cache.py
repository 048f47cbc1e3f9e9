"""A node's pulled models. One download however many processes ask; the least recently used leave.

Whoever pulls a model holds its lock alone, whoever uses it shares the lock, and what is shared is
not evicted. The lock file's time is when the model was last asked for.
"""

import fcntl
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments.store.manifest import Manifest
from deployments.store.node.locks import alone, lock, lock_file
from deployments.store.places.types import Place, StoreFailed
from deployments.store.transfer.pull import disk_bytes, is_whole, part_folder, pull, reserve
from deployments.store.transfer.push import StartPhase

_FOLDER = "TANDEM_STORE_CACHE"
_LIMIT_GB = "TANDEM_STORE_LIMIT_GB"
# Never filled: the node's logs and spilled objects live on the same disk.
_DISK_RESERVE_BYTES = 2**30
_LOCK_TRIES = 100
_LOCK_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """A whole model that is not evicted until it is released or the process ends.

    fetched_bytes: what came from the place for it; 0 when it was there.
    """

    folder: Path
    handle: int
    fetched_bytes: int

    def release(self) -> None:
        os.close(self.handle)


@dataclass(frozen=True, slots=True)
class CachedModel:
    """One model in the cache. used_at: seconds since the epoch. is_whole: no pull is unfinished."""

    folder: Path
    num_bytes: int
    used_at: float
    is_whole: bool
    is_in_use: bool


class Cache:
    """Models below `root`, in `NAME-VERSION` folders that any engine loads.

    Args:
        limit_bytes: of all models together; None for as much as the disk has.
    """

    def __init__(self, root: Path, limit_bytes: int | None) -> None:
        self.root = root
        self._limit_bytes = limit_bytes

    def folder_of(self, place: Place, manifest: Manifest) -> Path:
        """Where the model lies or will lie; the same on every node of a cluster."""
        name = place.uri.rstrip("/").rsplit("/", 1)[-1]
        return self.root / f"{name}-{manifest.version}"

    def obtain(self, place: Place, manifest: Manifest, start_phase: StartPhase) -> Held:
        """The model, pulled unless it is there; waits while another process pulls it.

        Raises:
            StoreFailed: no room, a corrupted piece, the place refuses, or what is there was
                damaged while somebody runs it.
        """
        target = self.folder_of(place, manifest)
        self.root.mkdir(parents=True, exist_ok=True)
        fetched_bytes = 0
        for _ in range(_LOCK_TRIES):
            handle = lock(target, fcntl.LOCK_SH)
            if is_whole(target, manifest):
                os.utime(handle)
                return Held(target, handle, fetched_bytes)
            os.close(handle)
            with alone(target) as is_alone:
                if is_alone:
                    self._make_room(manifest, target)
                    fetched_bytes += pull(place, manifest, target, start_phase)
                    continue
            time.sleep(_LOCK_PAUSE_S)
        raise StoreFailed(
            str(target), "repaired", "files are missing and another process runs the model",
            "Stop the replicas that use it, or choose another TANDEM_STORE_CACHE.",
        )  # fmt: skip

    def models(self) -> list[CachedModel]:
        """What is there, least recently used first."""
        names = {path.name.removesuffix(".lock") for path in self.root.glob("*.lock")}
        found = [self._model(self.root / name) for name in sorted(names)]
        return sorted((model for model in found if model is not None), key=lambda m: m.used_at)

    def evict(self, limit_bytes: int, *, is_dry_run: bool = False) -> list[CachedModel]:
        """Removes the least recently used that nobody runs until `limit_bytes` are kept.

        Returns:
            What went, or in a dry run would go.
        """
        evicted = []
        models = self.models()
        num_bytes = sum(model.num_bytes for model in models)
        for model in models:
            if num_bytes <= limit_bytes:
                break
            if not model.is_in_use if is_dry_run else self._evict_one(model.folder):
                num_bytes -= model.num_bytes
                evicted.append(model)
        return evicted

    def _make_room(self, manifest: Manifest, target: Path) -> None:
        """Evicts what must go and takes the space, while no other process does the same."""
        with (self.root / ".room").open("w") as room:
            fcntl.flock(room, fcntl.LOCK_EX)
            # Damaged, or it would not be pulled; its place is needed for what replaces it.
            shutil.rmtree(target, ignore_errors=True)
            idle = [m for m in self.models() if m.folder != target and not m.is_in_use]
            # Asked first, so that none goes for a model that does not fit even then.
            self._refuse_lack(manifest, target, sum(model.num_bytes for model in idle))
            for model in idle:
                if self._lacking_bytes(manifest, target) <= 0:
                    break
                self._evict_one(model.folder)
            self._refuse_lack(manifest, target, 0)
            try:
                reserve(manifest, target)
            except OSError as err:
                raise StoreFailed(
                    str(target), "written", str(err), "Free some space on that disk."
                ) from err

    def _lacking_bytes(self, manifest: Manifest, target: Path) -> int:
        """Bytes that the disk or the limit lacks for the rest of the model; none below 0."""
        missing = max(0, manifest.num_bytes - disk_bytes(part_folder(target)))
        free = shutil.disk_usage(self.root).free - _DISK_RESERVE_BYTES
        if self._limit_bytes is None:
            return missing - free
        used = sum(model.num_bytes for model in self.models())
        return max(missing - free, used + missing - self._limit_bytes)

    def _refuse_lack(self, manifest: Manifest, target: Path, idle_bytes: int) -> None:
        """Raises StoreFailed when the room is too small even without so many bytes of others."""
        lacking = self._lacking_bytes(manifest, target) - idle_bytes
        if lacking <= 0:
            return
        running = [model.folder.name for model in self.models() if model.is_in_use]
        limit = f", its limit is {self._limit_bytes / 1e9:.1f} GB" if self._limit_bytes else ""
        raise StoreFailed(
            str(target), "written",
            f"it has {manifest.num_bytes / 1e9:.1f} GB and the cache {self.root} lacks "
            f"{lacking / 1e9:.2f} GB{limit}; in use: {', '.join(running) or 'nothing'}",
            f"Free some space there, set {_FOLDER} to a larger disk, or raise {_LIMIT_GB}.",
        )  # fmt: skip

    def _evict_one(self, folder: Path) -> bool:
        """Removes the model unless somebody pulls or runs it."""
        with alone(folder) as is_alone:
            if is_alone:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(part_folder(folder), ignore_errors=True)
        return is_alone

    def _model(self, folder: Path) -> CachedModel | None:
        num_bytes = disk_bytes(folder) + disk_bytes(part_folder(folder))
        if num_bytes == 0:
            return None
        with alone(folder) as is_alone:
            used_at = lock_file(folder).stat().st_mtime
        return CachedModel(folder, num_bytes, used_at, folder.is_dir(), not is_alone)


def node_cache(home: Path, environ: Mapping[str, str]) -> Cache:
    """The cache of this machine: TANDEM_STORE_CACHE or `store` in Tandem's home.

    Raises:
        StoreFailed: TANDEM_STORE_LIMIT_GB is no number above 0.
    """
    root = Path(environ.get(_FOLDER) or home / "store").expanduser().absolute()
    text = environ.get(_LIMIT_GB)
    if not text:
        return Cache(root, None)
    try:
        limit_gb = float(text)
        if not 0 < limit_gb < math.inf:
            raise ValueError("it must be above 0 and finite")
    except ValueError as err:
        raise StoreFailed(
            str(root), "opened", f"{_LIMIT_GB}={text!r}: {err}", "Give gigabytes, such as 200."
        ) from err
    return Cache(root, int(limit_gb * 1e9))
