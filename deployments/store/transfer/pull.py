"""A published model becomes a folder: whole or not there, each piece checked as it arrives.

A killed pull leaves `NAME.part` with a journal of finished pieces; the next one goes on from there.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from deployments.store.manifest import MANIFEST, Manifest, Piece, read_manifest
from deployments.store.places.types import OnBytes, Place, StoreFailed
from deployments.store.places.window import Window
from deployments.store.transfer.journal import Journal
from deployments.store.transfer.parallel import run_all
from deployments.store.transfer.push import StartPhase
from deployments.weights.keep import locked

_JOURNAL = ".finished-pieces"
_BLOCK_BYTES = 2**20
_ATTEMPTS = 2


def part_folder(target: Path) -> Path:
    """Where a model lies while it is pulled."""
    return target.with_name(f"{target.name}.part")


def is_whole(folder: Path, manifest: Manifest) -> bool:
    """Whether the folder was pulled to its end and every file still has its size."""
    try:
        there = read_manifest((folder / MANIFEST).read_bytes(), str(folder))
    except (FileNotFoundError, NotADirectoryError, StoreFailed):
        return False
    if there.version != manifest.version:
        return False
    return all(_has_size(folder / file.name, file.num_bytes) for file in manifest.files)


def reserve(manifest: Manifest, target: Path) -> None:
    """Takes the disk space of the whole model, so that nobody else does meanwhile.

    Raises:
        OSError: the disk is full.
    """
    for file in manifest.files:
        path = part_folder(target) / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if os.fstat(handle).st_size > file.num_bytes:
                # Left by an unfinished pull of another version.
                os.ftruncate(handle, file.num_bytes)
            if file.num_bytes:
                os.posix_fallocate(handle, 0, file.num_bytes)
        finally:
            os.close(handle)


def pull(place: Place, manifest: Manifest, target: Path, start_phase: StartPhase) -> int:
    """Fills the folder `target`, which appears when it is whole; `reserve` must have been called.

    Returns:
        Bytes that came from the place.

    Raises:
        StoreFailed: a piece does not have its sum even when fetched twice, or the place refuses.
    """
    part = part_folder(target)
    journal = Journal(part / _JOURNAL)
    finished = _still_good(part, manifest, journal.finished(), start_phase)
    missing = [piece for piece in manifest.pieces if piece.name not in finished]
    num_bytes = sum(piece.num_bytes for piece in missing)
    on_bytes = start_phase("fetching", num_bytes)

    def fetch(piece: Piece) -> None:
        _fetch(place, part, piece, on_bytes)
        journal.add(piece.name)

    journal.begin(finished)
    run_all(fetch, missing, place.cancel)
    _publish(part, manifest, target)
    # Last: a pull that is killed before the rename finds its pieces again.
    Journal(target / _JOURNAL).remove()
    return num_bytes


def pull_folder(place: Place, manifest: Manifest, folder: Path, start_phase: StartPhase) -> int:
    """Like `pull`, into a folder of the caller's choice; replaces what was pulled there before.

    Raises:
        StoreFailed: also when the folder holds something else, or the disk lacks the space.
    """
    with locked(folder):
        if is_whole(folder, manifest):
            return 0
        if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise StoreFailed(
                str(folder), "written", "the folder is not empty and was not pulled from a store",
                "Name a new or empty folder.",
            )  # fmt: skip
        free = shutil.disk_usage(folder.parent).free
        if manifest.num_bytes > free + disk_bytes(part_folder(folder)):
            raise StoreFailed(
                str(folder), "written",
                f"it has {manifest.num_bytes / 1e9:.2f} GB and its disk {free / 1e9:.2f} GB free",
                "Free some space, or name a folder on another disk.",
            )  # fmt: skip
        reserve(manifest, folder)
        return pull(place, manifest, folder, start_phase)


def disk_bytes(folder: Path) -> int:
    """What the folder takes on the disk, reserved space included."""
    files = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(max(stat.st_size, stat.st_blocks * 512) for stat in files)


def _still_good(
    part: Path, manifest: Manifest, begun: set[str], start_phase: StartPhase
) -> set[str]:
    """Names of the pieces that an earlier pull finished, read again: its machine may have died."""
    there = [piece for piece in manifest.pieces if piece.name in begun]
    on_bytes = start_phase("checking", sum(piece.num_bytes for piece in there))
    return {piece.name for piece in there if _is_good(part, piece, on_bytes)}


def _fetch(place: Place, part: Path, piece: Piece, on_bytes: OnBytes) -> None:
    for attempt in range(_ATTEMPTS):
        with _window(part, piece) as window:
            place.download(piece.key, piece.num_bytes, cast("BinaryIO", window), on_bytes)
        if _is_good(part, piece, lambda _: None):
            return
        if attempt + 1 < _ATTEMPTS:
            on_bytes(-piece.num_bytes)
    raise StoreFailed(
        place.uri, "read", f"{piece.name} is corrupted, also when fetched again: its SHA-256 is "
        f"not the {piece.sha256} after which its object is named",
        "Push the model again with --overwrite.",
    )  # fmt: skip


@contextmanager
def _window(part: Path, piece: Piece) -> Iterator[Window]:
    """Where the piece belongs; what was written is on the disk at the end."""
    handle = os.open(part / piece.file, os.O_RDWR)
    try:
        yield Window(handle, piece.offset, piece.num_bytes)
        os.fdatasync(handle)
    finally:
        os.close(handle)


def _is_good(part: Path, piece: Piece, on_bytes: OnBytes) -> bool:
    """Reads the piece back, from memory when it was written just now."""
    digest = hashlib.sha256()
    try:
        with Window.of(part / piece.file, piece.offset, piece.num_bytes) as window:
            while block := window.read(_BLOCK_BYTES):
                digest.update(block)
                on_bytes(len(block))
    except FileNotFoundError:
        return False
    return digest.hexdigest() == piece.sha256


def _publish(part: Path, manifest: Manifest, target: Path) -> None:
    """Turns the part into the model: only its own files, its manifest last, then the rename."""
    names = {_JOURNAL, *(file.name for file in manifest.files)}
    for path in sorted(part.rglob("*")):
        if path.is_file() and path.relative_to(part).as_posix() not in names:
            path.unlink()
    with (part / MANIFEST).open("wb") as file:
        file.write(manifest.to_json())
        file.flush()
        os.fsync(file.fileno())
    if target.exists():
        # A folder cannot replace a full one in one step.
        shutil.rmtree(target)
    os.replace(part, target)


def _has_size(path: Path, num_bytes: int) -> bool:
    try:
        return path.stat().st_size == num_bytes
    except FileNotFoundError:
        return False
