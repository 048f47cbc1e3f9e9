"""What is there against its manifest: every byte is read."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployments.store.manifest import MANIFEST, Piece, read_manifest
from deployments.store.places.types import OnBytes, Place, StoreFailed
from deployments.store.transfer.parallel import run_all
from deployments.store.transfer.push import StartPhase, published_manifest


class _Hashing:
    """A file that only takes the sum of what is written to it, in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def verify_place(place: Place, start_phase: StartPhase) -> list[str]:
    """What is wrong with the model published there, a sentence each; nothing lands on the disk.

    Raises:
        StoreFailed: nothing is published there, or the place refuses.
    """
    manifest = published_manifest(place)
    if manifest is None:
        raise not_published(place)
    sizes = place.sizes()
    # What is equal in two files is one object.
    pieces = list({piece.key: piece for piece in manifest.pieces}.values())
    problems = [_size_problem(piece, sizes.get(piece.key)) for piece in pieces]
    there = [piece for piece, problem in zip(pieces, problems, strict=True) if problem is None]
    on_bytes = start_phase("verifying", sum(piece.num_bytes for piece in there))

    def check(piece: Piece) -> None:
        hashing: Any = _Hashing()
        place.download(piece.key, piece.num_bytes, hashing, on_bytes)
        if hashing.sha256 != piece.sha256:
            problems.append(f"{_named(piece)} is corrupted: its SHA-256 is {hashing.sha256}")

    run_all(check, there, place.cancel)
    return [problem for problem in problems if problem is not None]


def verify_folder(folder: Path, start_phase: StartPhase) -> list[str]:
    """What is wrong with a pulled folder, a sentence each.

    Raises:
        StoreFailed: the folder was not pulled from a store.
    """
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes(), str(folder))
    except FileNotFoundError as err:
        raise StoreFailed(
            str(folder), "verified", f"it has no {MANIFEST}", "Pull it from a store."
        ) from err
    on_bytes = start_phase("verifying", manifest.num_bytes)
    return list(_folder_problems(folder, [(f.name, f.sha256) for f in manifest.files], on_bytes))


def not_published(place: Place) -> StoreFailed:
    return StoreFailed(
        place.uri, "found", f"there is no {MANIFEST}, so no model was published here",
        "Publish one with `tandem store push FOLDER URI`, or correct the URI; "
        "`tandem store ls URI` lists what lies below.",
    )  # fmt: skip


def _folder_problems(folder: Path, sums: list[tuple[str, str]], on_bytes: OnBytes) -> Iterator[str]:
    for name, sha256 in sums:
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            yield f"{name} is missing"
            continue
        on_bytes((folder / name).stat().st_size)
        if found != sha256:
            yield f"{name} is corrupted: its SHA-256 is {found}"


def _size_problem(piece: Piece, num_bytes: int | None) -> str | None:
    if num_bytes is None:
        return f"{_named(piece)} is missing"
    if num_bytes != piece.num_bytes:
        return f"{_named(piece)} has {num_bytes:,} bytes and should have {piece.num_bytes:,}"
    return None


def _named(piece: Piece) -> str:
    return f"{piece.name} ({piece.key})"
