"""Runs of files' bytes that s3transfer sends as it sends files: part by part, straight from disk.

A file object would be read into memory by its one thread that hands parts out; a file's name is
opened by each thread that sends a part. So a run gets a name, and the name is opened here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from s3transfer.utils import OSUtils  # type: ignore[import-untyped]

from deployments.store.places.window import Window


class Runs(OSUtils):  # type: ignore[misc]
    """Opens runs by the names that they were given; s3transfer's seam to the operating system.

    with runs.named("model/a.piece-00001", path, offset, num_bytes) as name:
        manager.upload(name, bucket, key).result()
    """

    def __init__(self) -> None:
        self._runs: dict[str, tuple[Path, int, int]] = {}

    @contextmanager
    def named(self, name: str, file: Path, offset: int, num_bytes: int) -> Iterator[str]:
        """The name can be opened, by any thread and as often as needed, until the block ends."""
        self._runs[name] = (file, offset, num_bytes)
        try:
            yield name
        finally:
            del self._runs[name]

    def get_file_size(self, filename: str) -> int:
        return self._runs[filename][2]

    def open(self, filename: str, mode: str) -> BinaryIO:
        """
        Raises:
            OSError: the file is gone, or too short by now; S3 would wait for the rest in vain.
        """
        file, offset, num_bytes = self._runs[filename]
        if file.stat().st_size < offset + num_bytes:
            raise OSError(f"{file.name} became shorter while it was sent")
        return cast(BinaryIO, Window.of(file, offset, num_bytes))
