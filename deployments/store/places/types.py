"""What every place of models offers, and how it fails."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a file's bytes. sha256: what they should add up to."""

    file: Path
    offset: int
    num_bytes: int
    sha256: str


# Told of bytes as they travel; less than nothing when a part is sent again.
OnBytes = Callable[[int], None]


class StoreFailed(Exception):
    """A model could not be stored or fetched; the message is for the operator.

    Args:
        uri: the place or folder. verb: `read`, `written`, ... reason: what went wrong.
        remedy: what to do, a full sentence.
    """

    def __init__(self, uri: str, verb: str, reason: str, remedy: str) -> None:
        # All of them, so that it can be pickled: Ray brings it here from other nodes.
        super().__init__(uri, verb, reason, remedy)
        self.uri = uri

    def __str__(self) -> str:
        uri, verb, reason, remedy = self.args
        return f"The model at {uri} could not be {verb}: {reason}. {remedy}"


class Place(Protocol):
    """Objects by key below one URI. Every call blocks and may be made from several threads.

    Each raises StoreFailed when the place refuses or cannot be reached.
    """

    @property
    def uri(self) -> str: ...

    def read(self, key: str) -> bytes | None:
        """A small object; None when there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Replaces a small object as a whole: readers see the old one or the new one."""

    def sizes(self) -> dict[str, int]:
        """Bytes of every object, by key."""

    def ages_s(self) -> dict[str, float]:
        """Seconds since every object was written, by key."""

    def upload(self, run: Run, key: str, on_bytes: OnBytes) -> None:
        """Stores the bytes; the object appears only when it is complete."""

    def download(self, key: str, num_bytes: int, target: BinaryIO, on_bytes: OnBytes) -> None:
        """Writes the object to `target`, out of order where that can seek.

        Raises:
            StoreFailed: also when the object is missing or has another size.
        """

    def delete(self, keys: list[str]) -> None:
        """Deletes objects; those that are not there are no error."""

    def abort_unfinished(self, older_than_s: float) -> int:
        """Ends uploads that were begun so long ago and cost money though nobody sees them.

        Returns:
            How many there were.
        """

    def cancel(self) -> None:
        """Ends what is under way as soon as may be; those calls fail."""

    def close(self) -> None:
        """Frees threads and connections."""
