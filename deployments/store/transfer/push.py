"""A folder becomes a published model. Safe to run again after any interruption, and twice at once.

Objects first, the manifest last: whoever reads the place meanwhile gets the model published before.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployments.store.hashing import make_manifest, model_files
from deployments.store.manifest import MANIFEST, PIECE_BYTES, Manifest, Piece, read_manifest
from deployments.store.places.types import OnBytes, Place, Run, StoreFailed
from deployments.store.transfer.parallel import Parallel, run_all

# Names a phase and the bytes it will pass over; returns where to count them.
StartPhase = Callable[[str, int], OnBytes]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did. sent_bytes: that were not there yet."""

    manifest: Manifest
    sent_bytes: int

    @property
    def kept_bytes(self) -> int:
        """What was there already: of the version before, of another push, or twice in the model."""
        return self.manifest.num_bytes - self.sent_bytes


def push(
    model: Path,
    place: Place,
    start_phase: StartPhase,
    *,
    piece_bytes: int = PIECE_BYTES,
    is_overwriting: bool = False,
) -> Pushed:
    """Publishes the folder's files at the place; what is there already is not sent again.

    Args:
        piece_bytes: files above it are cut.
        is_overwriting: sends everything, for a place whose objects were damaged.

    Raises:
        StoreFailed: the folder has no files, they change meanwhile, or the place refuses.
    """
    before = _stats(model)
    published = None if is_overwriting else published_manifest(place)
    there = {} if is_overwriting else place.sizes()
    on_bytes = start_phase("sending", sum(size for size, _ in before.values()))
    sending = _Sending(model, place, there, on_bytes)
    try:
        # Each piece is sent as soon as its sum is known.
        with Parallel(sending.store, place.cancel) as running:
            manifest = make_manifest(model, piece_bytes, running.begin)
    except StoreFailed as err:
        # The place has refused bytes that are not those of the sum.
        if changed := _changed(model, before):
            raise _changed_meanwhile(model, changed) from err
        raise
    if changed := _changed(model, before):
        # Who may not do this loses nothing where the place refuses wrong bytes, as nearly all do.
        with suppress(StoreFailed):
            place.delete(sending.doubtful(manifest, changed, published_manifest(place)))
        raise _changed_meanwhile(model, changed)
    sending.repair(manifest)
    if manifest != published:
        place.write(MANIFEST, manifest.to_json())
        # Garbage collection may have gone by the manifest before.
        sending.repair(manifest)
    return Pushed(manifest, sending.num_bytes)


class _Sending:
    """Pieces on their way to a place, from several threads. num_bytes: that were sent."""

    def __init__(
        self, model: Path, place: Place, there: Mapping[str, int], on_bytes: OnBytes
    ) -> None:
        self._model = model
        self._place = place
        self._there = there
        self._on_bytes = on_bytes
        self._begun: set[str] = set()
        self._lock = threading.Lock()
        self.num_bytes = 0

    def store(self, piece: Piece) -> None:
        """
        Raises:
            StoreFailed: the place refuses.
        """
        if self._there.get(piece.key) == piece.num_bytes or not self._begin(piece):
            self._on_bytes(piece.num_bytes)
            return
        self._upload(piece, self._on_bytes)

    def repair(self, manifest: Manifest) -> None:
        """Sends what was there and is no more: garbage collection knew nothing of this push."""
        there = self._place.sizes()
        lost = {piece.key: piece for piece in manifest.pieces if piece.key not in there}
        run_all(lambda piece: self._upload(piece, _uncounted), lost.values(), self._place.cancel)

    def doubtful(
        self, manifest: Manifest, files: set[str], published: Manifest | None
    ) -> list[str]:
        """What was sent of these files, under names that their bytes may not have deserved.

        Not what a published model needs: those names were good before, or another push's.
        """
        needed = published.keys if published else frozenset()
        sent = {piece.key for piece in manifest.pieces if piece.file in files} & self._begun
        return sorted(sent - needed)

    def _begin(self, piece: Piece) -> bool:
        """Whether no other thread sends the same bytes already."""
        with self._lock:
            is_first = piece.key not in self._begun
            self._begun.add(piece.key)
        return is_first

    def _upload(self, piece: Piece, on_bytes: OnBytes) -> None:
        run = Run(self._model / piece.file, piece.offset, piece.num_bytes, piece.sha256)
        self._place.upload(run, piece.key, on_bytes)
        with self._lock:
            self.num_bytes += piece.num_bytes


def published_manifest(place: Place) -> Manifest | None:
    """The manifest at the place, None when no model was published there.

    Raises:
        StoreFailed: it cannot be read, or the place refuses.
    """
    data = place.read(MANIFEST)
    return None if data is None else read_manifest(data, place.uri)


def _stats(model: Path) -> dict[str, tuple[int, int]]:
    """Bytes and nanoseconds of the last change, of every file."""
    stats = ((path.relative_to(model).as_posix(), path.stat()) for path in model_files(model))
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats}


def _changed(model: Path, before: Mapping[str, tuple[int, int]]) -> set[str]:
    return {name for name, _ in _stats(model).items() ^ before.items()}


def _changed_meanwhile(model: Path, files: set[str]) -> StoreFailed:
    return StoreFailed(
        str(model), "published", f"{min(files)} changed meanwhile",
        "Push it again when nothing writes to the folder; readers get the model before.",
    )  # fmt: skip


def _uncounted(num_bytes: int) -> None:
    """Of bytes that were counted before."""
