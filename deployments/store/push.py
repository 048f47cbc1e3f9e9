"""A folder becomes a published model. Safe to run again after any interruption, and twice at once.

Objects first, the manifest last: whoever reads the place meanwhile gets the model published before.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deployments.store.hashing import make_manifest, model_files
from deployments.store.manifest import MANIFEST, PIECE_BYTES, Manifest, Piece, read_manifest
from deployments.store.places.types import OnBytes, Place

# Few at once, each in parallel parts: what a kill interrupts is little.
_PIECES_AT_ONCE = 4
# Names a phase and the bytes it will pass over; returns where to count them.
StartPhase = Callable[[str, int], OnBytes]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did, in bytes."""

    manifest: Manifest
    sent_bytes: int
    copied_bytes: int

    @property
    def kept_bytes(self) -> int:
        """What an earlier push had already brought there."""
        return self.manifest.num_bytes - self.sent_bytes - self.copied_bytes


def push(
    folder: Path,
    place: Place,
    start_phase: StartPhase,
    *,
    piece_bytes: int | None = PIECE_BYTES,
    is_overwriting: bool = False,
) -> Pushed:
    """Publishes the folder's files at the place; what is there already is not sent again.

    Args:
        piece_bytes: files above it are cut; None keeps every file one object, as other tools
            want them, and a killed push sends its unfinished files anew.
        is_overwriting: sends everything, for a place whose objects were damaged.

    Raises:
        StoreFailed: the folder has no files, or the place refuses.
    """
    folder_bytes = sum(path.stat().st_size for path in model_files(folder))
    on_hashed = start_phase("hashing", folder_bytes)
    with ThreadPoolExecutor(1) as ahead:
        found = ahead.submit(_found, place, is_overwriting)

        def hashed(num_bytes: int) -> None:
            if found.done():
                # A place that refuses ends the hashing: of a large model it takes minutes.
                found.result()
            on_hashed(num_bytes)

        manifest = make_manifest(folder, piece_bytes, hashed)
        published, there = found.result()
    missing = [p for p in manifest.pieces if there.get(p.key) != p.num_bytes]
    # A model that changed a little is sent a little: the rest is copied where it lies.
    old = (
        {p.sha256: p for p in published.pieces if there.get(p.key) == p.num_bytes}
        if published
        else {}
    )
    copied = [piece for piece in missing if piece.sha256 in old]
    sent = [piece for piece in missing if piece.sha256 not in old]
    on_bytes = start_phase("sending", sum(piece.num_bytes for piece in missing))

    def store(piece: Piece) -> None:
        if piece.sha256 in old:
            place.copy(old[piece.sha256].key, piece.key)
            on_bytes(piece.num_bytes)
            return
        place.upload(folder / piece.file, piece.offset, piece.num_bytes, piece.key, on_bytes)

    run_all(store, missing)
    if is_overwriting or published != manifest:
        place.write(MANIFEST, manifest.to_json())
    return Pushed(manifest, sum(p.num_bytes for p in sent), sum(p.num_bytes for p in copied))


def _found(place: Place, is_overwriting: bool) -> tuple[Manifest | None, Mapping[str, int]]:
    """What was published there, and the bytes of each object that need not be sent again."""
    published = published_manifest(place)
    return published, {} if is_overwriting else place.sizes()


def published_manifest(place: Place) -> Manifest | None:
    """The manifest at the place, None when no model was published there.

    Raises:
        StoreFailed: it is damaged, or the place refuses.
    """
    data = place.read(MANIFEST)
    return None if data is None else read_manifest(data, place.uri)


def run_all(job: Callable[[Piece], None], pieces: list[Piece]) -> None:
    """Runs the job on every piece, a few at once; the first failure ends the rest."""
    with ThreadPoolExecutor(_PIECES_AT_ONCE) as pool:
        futures = [pool.submit(job, piece) for piece in pieces]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
