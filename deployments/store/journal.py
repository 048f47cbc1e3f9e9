"""Which pieces a pull has finished, kept beside them so that the next pull knows."""

import threading
from collections.abc import Iterable
from pathlib import Path


class Journal:
    """A file of keys, one a line; may be written from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def finished(self) -> set[str]:
        """Keys that were added; a line that a kill cut is the key of nothing."""
        try:
            return set(self._path.read_text(errors="replace").splitlines())
        except FileNotFoundError:
            return set()

    def begin(self, keys: Iterable[str]) -> None:
        """Starts anew with these keys."""
        self._path.write_text("".join(f"{key}\n" for key in sorted(keys)))

    def add(self, key: str) -> None:
        with self._lock, self._path.open("a") as file:
            file.write(f"{key}\n")

    def remove(self) -> None:
        self._path.unlink()
