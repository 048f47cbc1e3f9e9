"""Lines in files of bounded size and number: one writer per replica, many readers per folder.

In: bytes of whole lines. Out: `REPLICA-00000001.jsonl` and so on, the oldest deleted. Knows no
JSON and no threads.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

_FILE = re.compile(r"(?P<replica>[A-Za-z0-9_.-]+)-(?P<number>\d{8})\.jsonl")
_REPLICA = re.compile(r"[A-Za-z0-9_.-]+")
_BLOCK_BYTES = 2**18
_GONE_AFTER_S = 3600.0


class LineFiles:
    """Writes one replica's files. Not thread-safe.

    A start always opens a new file, so a line that a crash tore stays the last of its file.

    Args:
        max_bytes: size of one file; only a single longer line exceeds it. max_files: how many
            this replica keeps, and how many are kept of all replicas that have gone.

    Raises:
        ValueError: when `replica` has characters that do not belong in a file name.
    """

    def __init__(self, folder: Path, *, replica: str, max_bytes: int, max_files: int) -> None:
        if not _REPLICA.fullmatch(replica):
            raise ValueError(f"The replica id {replica!r} must be letters, digits, '_', '.', '-'.")
        self._folder = folder
        self._replica = replica
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._path: Path | None = None
        self._handle: int | None = None
        self._size = 0

    def write(self, lines: Sequence[bytes]) -> int:
        """Appends as many whole lines as fit the file, at least one; returns how many.

        Raises:
            OSError: when none was written; call again later with the same lines.
        """
        try:
            handle = self._ready_for(len(lines[0]))
            num_lines = self._num_fitting(lines)
            block = b"".join(lines[:num_lines])
            left = memoryview(block)
            while left:
                left = left[os.write(handle, left) :]
        except OSError:
            self._undo()
            raise
        self._size += len(block)
        return num_lines

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _ready_for(self, num_bytes: int) -> int:
        if self._path is None or (self._size and self._size + num_bytes > self._max_bytes):
            self.close()
            self._path, self._handle = self._open_next()
            self._size = 0
            self._delete_oldest()
        # Whoever deletes the file under us loses its lines, but not the next ones.
        elif self._handle is None or os.fstat(self._handle).st_nlink == 0:
            self.close()
            self._handle = self._open(self._path, 0)
            self._size = min(self._size, os.fstat(self._handle).st_size)
            os.ftruncate(self._handle, self._size)
        return self._handle

    def _num_fitting(self, lines: Sequence[bytes]) -> int:
        ends = accumulate((len(line) for line in lines), initial=self._size)
        next(ends)
        return max(1, sum(1 for end in ends if end <= self._max_bytes))

    def _open_next(self) -> tuple[Path, int]:
        mine = files(self._folder).get(self._replica, [])
        number = int(mine[-1].stem[-8:]) + 1 if mine else 1
        path = self._folder / f"{self._replica}-{number:08d}.jsonl"
        return path, self._open(path, os.O_EXCL)

    def _open(self, path: Path, flags: int) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags, 0o640)

    def _undo(self) -> None:
        """Cuts half a write off, now or when the file is opened again."""
        if self._handle is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._handle, self._size)
        with contextlib.suppress(OSError):
            self.close()
        self._handle = None

    def _delete_oldest(self) -> None:
        mine = files(self._folder).get(self._replica, [])
        # Replica ids are new after every start: without this the folder would grow for ever.
        gone_before_s = time.time() - _GONE_AFTER_S
        others = [path for path in newest_first(self._folder) if path not in mine]
        gone = [path for path in others if _written_at_s(path) < gone_before_s]
        for path in mine[: -self._max_files] + gone[self._max_files :]:
            path.unlink(missing_ok=True)


def files(folder: Path) -> dict[str, list[Path]]:
    """Each replica's files, oldest first; empty when the folder does not exist.

    Raises:
        OSError: when the folder cannot be listed.
    """
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    by_replica: dict[str, list[Path]] = {}
    for match in filter(None, map(_FILE.fullmatch, names)):
        by_replica.setdefault(match["replica"], []).append(folder / match[0])
    return by_replica


def newest_first(folder: Path) -> list[Path]:
    """All replicas' files by the time of their last write; among equals the higher number first.

    Raises:
        OSError: when the folder cannot be listed.
    """
    every = [path for paths in files(folder).values() for path in paths]
    return sorted(every, key=lambda path: (_written_at_s(path), path.name), reverse=True)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, first to last; none when it was rotated away."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        yield from file


def lines_backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file, last to first, read in blocks; none when it was rotated away."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        end, first = file.seek(0, os.SEEK_END), b""
        while end > 0:
            start = max(0, end - _BLOCK_BYTES)
            file.seek(start)
            first, *rest = (file.read(end - start) + first).split(b"\n")
            yield from reversed(rest)
            end = start
        yield first


def _written_at_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
