"""A run of a file's bytes as a file of its own, for whoever takes only whole files."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Window(io.RawIOBase):
    """Reads and writes `num_bytes` of an open file from `offset` on, seekable within them.

    >>> with Window.reading(path, 1024, 4096) as window:
    ...     window.read(10)
    """

    def __init__(self, handle: int, offset: int, num_bytes: int) -> None:
        super().__init__()
        self._handle = handle
        self._offset = offset
        self._num_bytes = num_bytes
        self._position = 0

    @classmethod
    @contextmanager
    def reading(cls, file: Path, offset: int, num_bytes: int) -> "Iterator[Window]":
        """A window on a file that is opened for it."""
        handle = os.open(file, os.O_RDONLY)
        try:
            yield cls(handle, offset, num_bytes)
        finally:
            os.close(handle)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._num_bytes}
        self._position = start[whence] + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._num_bytes - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        # Not by `readinto`, which would zero and then copy a buffer of the same size.
        data = os.pread(self._handle, wanted, self._offset + self._position)
        self._position += len(data)
        return data

    def write(self, data: Any) -> int:
        """Writes all of `data`.

        Raises:
            ValueError: it would reach past the window.
        """
        left = memoryview(data).cast("B")
        if self._position + len(left) > self._num_bytes:
            raise ValueError(f"{len(left)} bytes at {self._position} reach past the window")
        written = len(left)
        while left:
            count = os.pwrite(self._handle, left, self._offset + self._position)
            self._position += count
            left = left[count:]
        return written
