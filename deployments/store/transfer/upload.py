"""One push's folder at a place: what an earlier try brought there stays, the rest is sent."""

import re
import secrets
from pathlib import Path

from deployments.store.manifest import Manifest, Piece
from deployments.store.places.types import OnBytes, Place
from deployments.store.transfer.journal import Journal

# As `sha256sum` prints it: the sum, then the key, which begins with the folder.
_LINE = re.compile("(?P<sum>[0-9a-f]{64})  (?P<key>(?P<folder>[0-9a-f]{16})/.+)")


class Upload:
    """Brings pieces there, from several threads; `sent` and `copied` count their bytes.

    Args:
        journal: sums and keys of the pieces that a push which ended early had sent.
        published: the model that readers get meanwhile; None when there is none, or it is not to
            be trusted.
    """

    def __init__(
        self, model: Path, place: Place, journal: Journal, published: Manifest | None
    ) -> None:
        self._model = model
        self._place = place
        self._journal = journal
        self._there = place.sizes()
        self._published = published
        pieces = published.pieces if published else []
        # A model that changed a little is sent a little: the rest is copied where it lies.
        self._copyable = {piece.sha256: piece for piece in pieces if self._has(piece)}
        begun = [line for each in journal.finished() if (line := _LINE.fullmatch(each))]
        if published and any(line["folder"] == published.folder for line in begun):
            # Killed after it had published: what readers are reading is never written to.
            begun = []
        # Of a file that changed between two tries the later sum counts.
        self._begun = {line["key"]: line["sum"] for line in begun}
        self.folder = begun[0]["folder"] if begun else secrets.token_hex(8)
        journal.begin(line[0] for line in begun)
        self.sent: list[int] = []
        self.copied: list[int] = []

    def is_published(self, manifest: Manifest) -> bool:
        """Whether readers get all of this already."""
        published = self._published
        return (
            published is not None
            and manifest.moved_to(published.folder) == published
            and all(self._has(piece) for piece in published.pieces)
        )

    def store(self, piece: Piece, on_bytes: OnBytes) -> None:
        """
        Raises:
            StoreFailed: the place refuses.
        """
        if self._begun.get(piece.key) == piece.sha256 and self._has(piece):
            on_bytes(piece.num_bytes)
            return
        if old := self._copyable.get(piece.sha256):
            self._place.copy(old.key, piece.key)
            self.copied.append(piece.num_bytes)
            on_bytes(piece.num_bytes)
        else:
            source = self._model / piece.file
            self._place.upload(source, piece.offset, piece.num_bytes, piece.key, on_bytes)
            self.sent.append(piece.num_bytes)
        self._journal.add(f"{piece.sha256}  {piece.key}")

    def _has(self, piece: Piece) -> bool:
        """Whether the place has an object of the piece's size at its key."""
        return self._there.get(piece.key) == piece.num_bytes

    def end(self) -> None:
        """Forgets what was sent: it is published."""
        self._journal.remove()
