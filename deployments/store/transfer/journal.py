"""Which pieces a pull has finished, kept beside them so that the next pull knows."""

import threading
from collections.abc import Iterable
from pathlib import Path


class Journal:
    """A file of lines, one a piece; may be written from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def finished(self) -> set[str]:
        """Lines that were added; one that a kill cut is of no piece."""
        try:
            return set(self._path.read_text(errors="replace").splitlines())
        except FileNotFoundError:
            return set()

    def begin(self, lines: Iterable[str]) -> None:
        """Starts anew with these lines."""
        self._path.write_text("".join(f"{line}\n" for line in lines))

    def add(self, line: str) -> None:
        with self._lock, self._path.open("a") as file:
            file.write(f"{line}\n")

    def remove(self) -> None:
        self._path.unlink()
