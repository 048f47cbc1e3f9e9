"""Models in a folder, such as a disk that all nodes mount."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from threading import Event
from typing import BinaryIO

from deployments.store.places.types import OnBytes, Run, StoreFailed

_BLOCK_BYTES = 4 * 2**20
_REMEDY = "Name a folder that this user may use, on a disk with space."
# Of files that a killed push left half written.
_TEMPORARY = ".writing-"


class FolderPlace:
    """Each object is a file, written beside its place and renamed when it is complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_cancelled = Event()

    @property
    def uri(self) -> str:
        return str(self._folder)

    def read(self, key: str) -> bytes | None:
        with self._failing("read"):
            try:
                return (self._folder / key).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, key: str, data: bytes) -> None:
        with self._failing("written"), self._whole(key) as file:
            file.write(data)

    def sizes(self) -> dict[str, int]:
        return {key: stat.st_size for key, stat in self._stats()}

    def ages_s(self) -> dict[str, float]:
        now = time.time()
        return {key: now - stat.st_mtime for key, stat in self._stats()}

    def upload(self, run: Run, key: str, on_bytes: OnBytes) -> None:
        with self._failing("written"), run.file.open("rb") as source, self._whole(key) as target:
            source.seek(run.offset)
            digest = hashlib.sha256()
            self._copy(source, target, run.num_bytes, on_bytes, digest.update)
            if digest.hexdigest() != run.sha256:
                raise OSError(f"{run.file.name} changed meanwhile")

    def download(self, key: str, num_bytes: int, target: BinaryIO, on_bytes: OnBytes) -> None:
        path = self._folder / key
        with self._failing("read"), path.open("rb") as source:
            has = os.fstat(source.fileno()).st_size
            if has != num_bytes:
                raise wrong_size(self.uri, key, has, num_bytes)
            self._copy(source, target, num_bytes, on_bytes)

    def delete(self, keys: list[str]) -> None:
        with self._failing("deleted"):
            for key in keys:
                (self._folder / key).unlink(missing_ok=True)

    def abort_unfinished(self, older_than_s: float) -> int:
        now = time.time()
        with self._failing("deleted"):
            left = [
                path for path in self._folder.rglob(f"{_TEMPORARY}*")
                if now - path.stat().st_mtime > older_than_s
            ]  # fmt: skip
            for path in left:
                path.unlink(missing_ok=True)
        return len(left)

    def cancel(self) -> None:
        self._is_cancelled.set()
        self._is_cancelled = Event()

    def close(self) -> None:
        """Nothing is kept open."""

    def _stats(self) -> Iterator[tuple[str, os.stat_result]]:
        with self._failing("listed"):
            for path in sorted(self._folder.rglob("*")):
                # Somebody else may delete it just now.
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    if S_ISREG(stat.st_mode) and not path.name.startswith(_TEMPORARY):
                        yield path.relative_to(self._folder).as_posix(), stat

    @contextmanager
    def _whole(self, key: str) -> Iterator[BinaryIO]:
        """A new file that takes the key's place once everything written to it is on the disk."""
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def _copy(
        self,
        source: BinaryIO,
        target: BinaryIO,
        num_bytes: int,
        on_bytes: OnBytes,
        on_block: Callable[[bytes], None] | None = None,
    ) -> None:
        left, is_cancelled = num_bytes, self._is_cancelled
        while left > 0:
            if is_cancelled.is_set():
                raise OSError("it was cancelled")
            block = source.read(min(_BLOCK_BYTES, left))
            if not block:
                raise OSError(f"the file ended {left:,} bytes early: it changed meanwhile")
            target.write(block)
            if on_block is not None:
                on_block(block)
            on_bytes(len(block))
            left -= len(block)

    @contextmanager
    def _failing(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise StoreFailed(self.uri, verb, _reason(err), _REMEDY) from err


def wrong_size(uri: str, key: str, has: int, num_bytes: int) -> StoreFailed:
    """What is stored is not what the manifest lists."""
    reason = f"{key} has {has:,} bytes and should have {num_bytes:,}"
    return StoreFailed(uri, "read", reason, "Push the model again with --overwrite.")


def _reason(err: OSError) -> str:
    where = f" ({err.filename})" if err.filename else ""
    return f"{err.strerror or err}{where}"
