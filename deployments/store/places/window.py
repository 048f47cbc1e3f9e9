"""A run of a file's bytes as a file of its own, for whoever takes only whole files."""

import io
import os
from pathlib import Path
from typing import Any


class Window(io.RawIOBase):
    """Reads and writes `num_bytes` of an open file from `offset` on, seekable within them.

    >>> with Window.of(path, 1024, 4096) as window:
    ...     window.read(10)

    Args:
        is_owner: it closes the handle when it is closed.
    """

    def __init__(self, handle: int, offset: int, num_bytes: int, *, is_owner: bool = False) -> None:
        super().__init__()
        self._handle = handle
        self._offset = offset
        self._num_bytes = num_bytes
        self._is_owner = is_owner
        self._position = 0

    @classmethod
    def of(cls, file: Path, offset: int, num_bytes: int) -> "Window":
        """A window to read through, on a file that is opened for it."""
        return cls(os.open(file, os.O_RDONLY), offset, num_bytes, is_owner=True)

    def close(self) -> None:
        if self._is_owner and not self.closed:
            os.close(self._handle)
        super().close()

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
