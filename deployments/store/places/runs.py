"""Runs of files' bytes that s3transfer sends as it sends files: part by part, straight from disk.

A file object would be read into memory by its one thread that hands parts out; a file's name is
opened by each thread that sends a part. So a run gets a name, and the name is opened here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from s3transfer.utils import OSUtils  # type: ignore[import-untyped]

from deployments.store.places.types import Run
from deployments.store.places.window import Window


class Runs(OSUtils):  # type: ignore[misc]
    """Opens runs by the names that they were given; s3transfer's seam to the operating system.

    with runs.named("model/.pieces/0a1b", run) as name:
        manager.upload(name, bucket, key).result()
    """

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    @contextmanager
    def named(self, name: str, run: Run) -> Iterator[str]:
        """The name can be opened, by any thread and as often as needed, until the block ends."""
        self._runs[name] = run
        try:
            yield name
        finally:
            del self._runs[name]

    def get_file_size(self, filename: str) -> int:
        return self._runs[filename].num_bytes

    def open(self, filename: str, mode: str) -> BinaryIO:
        """
        Raises:
            OSError: the file is gone, or too short by now; S3 would wait for the rest in vain.
        """
        run = self._runs[filename]
        if run.file.stat().st_size < run.offset + run.num_bytes:
            raise OSError(f"{run.file.name} became shorter while it was sent")
        return cast(BinaryIO, Window.of(run.file, run.offset, run.num_bytes))
