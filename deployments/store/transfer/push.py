"""A folder becomes a published model. Safe to run again after any interruption, and twice at once.

Objects first, the manifest last: whoever reads the place meanwhile gets the model published before.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deployments.store.hashing import make_manifest, model_files
from deployments.store.manifest import MANIFEST, PIECE_BYTES, Manifest, Piece, read_manifest
from deployments.store.places.types import OnBytes, Place, StoreFailed
from deployments.store.transfer.journal import Journal
from deployments.store.transfer.parallel import Parallel, run_all
from deployments.store.transfer.upload import Upload
from deployments.weights.keep import locked

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
    model: Path,
    place: Place,
    journals: Path,
    start_phase: StartPhase,
    *,
    piece_bytes: int | None = PIECE_BYTES,
    is_overwriting: bool = False,
) -> Pushed:
    """Publishes the folder's files at the place; what is there already is not sent again.

    Args:
        journals: a folder that remembers what was sent: a push that was killed goes on from there.
        piece_bytes: files above it are cut; None keeps every file one object, as other tools
            want them, and a killed push sends its unfinished files anew.
        is_overwriting: sends everything, for a place whose objects were damaged.

    Raises:
        StoreFailed: the folder has no files, they change meanwhile, or the place refuses.
    """
    pair = f"{place.uri}\n{model.absolute()}".encode()
    journal = journals / hashlib.sha256(pair).hexdigest()[:16]
    with locked(journal):
        before = _stats(model)
        if is_overwriting:
            journal.unlink(missing_ok=True)
        published = None if is_overwriting else published_manifest(place)
        upload = Upload(model, place, Journal(journal), published)
        num_bytes = sum(size for size, _ in before.values())
        make = partial(make_manifest, model, upload.folder, piece_bytes)
        if published is None:
            # All has to travel: each piece does as soon as its sum is known.
            with Parallel(_storing(upload, num_bytes, start_phase)) as sending:
                manifest = make(on_bytes=lambda num_bytes: None, on_piece=sending.begin)
        else:
            on_bytes = start_phase("hashing", num_bytes)
            manifest = make(on_bytes=on_bytes, on_piece=lambda piece: None)
            if upload.is_published(manifest):
                upload.end()
                return Pushed(published, 0, 0)
            run_all(_storing(upload, num_bytes, start_phase), manifest.pieces)
        _refuse_changed(model, before)
        place.write(MANIFEST, manifest.to_json())
        upload.end()
    return Pushed(manifest, sum(upload.sent), sum(upload.copied))


def _storing(upload: Upload, num_bytes: int, start_phase: StartPhase) -> Callable[[Piece], None]:
    return partial(upload.store, on_bytes=start_phase("sending", num_bytes))


def _stats(model: Path) -> dict[Path, tuple[int, int]]:
    """Bytes and nanoseconds of the last change, of every file."""
    stats = ((path, path.stat()) for path in model_files(model))
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats}


def _refuse_changed(model: Path, before: Mapping[Path, tuple[int, int]]) -> None:
    changed = {path for path, stat in _stats(model).items() ^ before.items()}
    if changed:
        raise StoreFailed(
            str(model), "published", f"{min(changed).name} changed meanwhile",
            "Push it again when nothing writes to the folder; readers get the model before.",
        )  # fmt: skip


def published_manifest(place: Place) -> Manifest | None:
    """The manifest at the place, None when no model was published there.

    Raises:
        StoreFailed: it is damaged, or the place refuses.
    """
    data = place.read(MANIFEST)
    return None if data is None else read_manifest(data, place.uri)
