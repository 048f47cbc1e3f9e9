"""State in a local file that is always whole: the old content or the new, whatever happens."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from serve_app.storage.types import MAX_BYTES, StorageFailed, check_size

_REMEDY = "Name a file in a folder that this user may write, on a disk with space."


class LocalStorage:
    """One file, readable by its owner only. Its folder is created by the first save."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uri = str(path)

    def load(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                check_size(self._uri, "read", os.fstat(file.fileno()).st_size)
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StorageFailed(self._uri, "read", _reason(err), _REMEDY) from err
        check_size(self._uri, "read", len(data))
        return data

    def save(self, data: bytes) -> None:
        check_size(self._uri, "written", len(data))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._replace(data)
        except OSError as err:
            raise StorageFailed(self._uri, "written", _reason(err), _REMEDY) from err

    def change(self, changed: Callable[[bytes | None], bytes]) -> None:
        with self._locked():
            self.save(changed(self.load()))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Beside the file, which is another one after each save."""
        path = self._path.with_name(f".{self._path.name}.lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as err:
            raise StorageFailed(self._uri, "written", _reason(err), _REMEDY) from err
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _replace(self, data: bytes) -> None:
        # In the same folder, because a rename is atomic only within one file system.
        handle, temporary = tempfile.mkstemp(
            dir=self._path.parent, prefix=f".{self._path.name}.", suffix=".tmp"
        )
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync_folder(self._path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(err: OSError) -> str:
    return err.strerror or type(err).__name__
