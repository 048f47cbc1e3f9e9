"""Which pieces a transfer has finished, so that the next one goes on where a kill ended it."""

import threading
from collections.abc import Iterable
from pathlib import Path


class Journal:
    """A file of lines, one a piece; may be written from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def finished(self) -> list[str]:
        """Lines in the order in which they were added; one that a kill cut is of no piece."""
        try:
            return self._path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def begin(self, lines: Iterable[str]) -> None:
        """Starts anew with these lines."""
        self._path.write_text("".join(f"{line}\n" for line in lines))

    def add(self, line: str) -> None:
        with self._lock, self._path.open("a") as file:
            file.write(f"{line}\n")

    def remove(self) -> None:
        self._path.unlink()
