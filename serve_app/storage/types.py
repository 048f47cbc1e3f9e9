"""What every place of storage offers, and how it fails."""

from collections.abc import Callable
from typing import Protocol

MAX_BYTES = 64 * 2**20


class StorageFailed(Exception):
    """The state could not be read or written; the message is for the operator.

    Args:
        uri: the place. verb: `read` or `written`. reason: what went wrong. remedy: what to do.
    """

    def __init__(self, uri: str, verb: str, reason: str, remedy: str) -> None:
        super().__init__(f"The state at {uri} could not be {verb}: {reason}. {remedy}")
        self.uri = uri


class Storage(Protocol):
    """One named place for one value. Both calls block: run them in a thread."""

    def load(self) -> bytes | None:
        """What was saved last; None when nothing ever was.

        Raises:
            StorageFailed: when it cannot be read, or is larger than 64 MiB.
        """

    def save(self, data: bytes) -> None:
        """Replaces the value as a whole: readers see the old one or the new one.

        Raises:
            StorageFailed: when it cannot be written, or is larger than 64 MiB.
        """


class SharedStorage(Storage, Protocol):
    """One that several may change at the same time."""

    def change(self, changed: Callable[[bytes | None], bytes]) -> None:
        """Loads, changes and saves, so that no change of anybody else's in between is lost.

        Args:
            changed: the new value for the present one; called again where that was replaced.

        Raises:
            StorageFailed: as `load` and `save`, or when others replace it again and again.
        """


def check_size(uri: str, verb: str, num_bytes: int) -> None:
    """Raises StorageFailed above 64 MiB: learned state has megabytes, so this is something else."""
    if num_bytes > MAX_BYTES:
        reason = f"it has {num_bytes:,} bytes and the limit is {MAX_BYTES:,}"
        raise StorageFailed(uri, verb, reason, "Name another place, or remove what is there.")
