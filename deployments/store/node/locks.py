"""One lock per model and node, held by the kernel: it lets go even after `kill -9`."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def lock(folder: Path, kind: int) -> int:
    """A handle that holds the model's lock until it is closed.

    Raises:
        BlockingIOError: another process holds it and `kind` says not to wait.
    """
    handle = os.open(lock_file(folder), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, kind)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Holds the model's lock alone, if nobody else has it; says whether."""
    try:
        handle = lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(handle)
