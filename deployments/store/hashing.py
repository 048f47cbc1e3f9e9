"""A model's files become a manifest: every byte is hashed once, and told piece by piece."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

from deployments.store.manifest import MANIFEST, Manifest, ModelFile, Piece, version_of
from deployments.store.places.types import StoreFailed

_BLOCK_BYTES = 2**20
# No more than cores: the first piece is known sooner when fewer files are read at once.
_HASHING_THREADS = min(4, os.cpu_count() or 1)
OnPiece = Callable[[Piece], None]


def make_manifest(model: Path, piece_bytes: int, on_piece: OnPiece) -> Manifest:
    """Reads every file of the model once, a few at a time.

    Args:
        piece_bytes: larger files are cut into pieces of so many bytes.
        on_piece: told of each piece, from several threads; what it raises ends the reading.

    Raises:
        StoreFailed: the model's folder is missing or empty.
    """
    is_over = Event()

    def read(path: Path) -> ModelFile:
        name = path.relative_to(model).as_posix()
        whole, pieces = hashlib.sha256(), []
        for piece in _pieces(path, name, piece_bytes, whole):
            if is_over.is_set():
                break
            on_piece(piece)
            pieces.append(piece)
        num_bytes = sum(piece.num_bytes for piece in pieces)
        return ModelFile(name, num_bytes, whole.hexdigest(), tuple(pieces))

    paths = model_files(model)
    pool = ThreadPoolExecutor(_HASHING_THREADS)
    try:
        files = tuple(pool.map(read, paths))
    finally:
        # After a failure nobody waits: files may have many gigabytes to go, and whoever is told of
        # pieces may keep a thread until it is told of the failure too.
        is_over.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return Manifest(version_of(files), files)


def model_files(model: Path) -> list[Path]:
    """The files of a model's folder, without what git, this store and downloads leave in it.

    Raises:
        StoreFailed: the folder is missing or has no file.
    """
    if not model.is_dir():
        raise StoreFailed(str(model), "read", "it is no folder", "Name a folder with a model.")
    found = [path for path in sorted(_files_below(model, frozenset())) if path != model / MANIFEST]
    if not found:
        raise StoreFailed(
            str(model), "read", "it has no files", "Name a folder with a model; hidden files "
            "do not count.",
        )  # fmt: skip
    return found


def _files_below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Also behind links, which may lead in circles."""
    here = folder.resolve()
    if here in above:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files_below(path, above | {here})
        elif path.is_file():
            yield path


def _pieces(path: Path, name: str, piece_bytes: int, whole: Any) -> Iterator[Piece]:
    """The file's pieces in order, at least one; `whole` takes in every byte."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= piece_bytes:
            num_bytes = _hash(file, size, (whole,))
            yield Piece(name, 0, num_bytes, whole.hexdigest())
            return
        for offset in range(0, size, piece_bytes):
            part = hashlib.sha256()
            num_bytes = _hash(file, piece_bytes, (whole, part))
            yield Piece(name, offset, num_bytes, part.hexdigest())


def _hash(file: BinaryIO, limit: int, hashes: tuple[Any, ...]) -> int:
    """Feeds the file's next `limit` bytes, or what is left, to the hashes; how many there were."""
    left = limit
    while block := file.read(min(_BLOCK_BYTES, left)):
        for each in hashes:
            each.update(block)
        left -= len(block)
    return limit - left
