"""A model's files become a manifest: every byte is read once, and told piece by piece."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

from deployments.store.manifest import MANIFEST, Manifest, ModelFile, Piece, key_of, version_of
from deployments.store.places.types import OnBytes, StoreFailed

_BLOCK_BYTES = 2**20
# No more than cores: the first piece is known sooner when fewer files are read at once.
_HASHING_THREADS = min(4, os.cpu_count() or 1)
OnPiece = Callable[[Piece], None]


def make_manifest(
    model: Path, folder: str, piece_bytes: int | None, on_bytes: OnBytes, on_piece: OnPiece
) -> Manifest:
    """Reads every file of the model once, a few at a time.

    Args:
        folder: where its objects are to lie.
        piece_bytes: larger files are cut into pieces of so many bytes; None keeps them whole.
        on_piece: told of each piece, from several threads; what it raises ends the reading.

    Raises:
        StoreFailed: the model's folder is missing or empty.
    """
    is_over = Event()

    def read(path: Path) -> ModelFile:
        name = path.relative_to(model).as_posix()
        whole, pieces = hashlib.sha256(), []
        for piece in _pieces(path, name, folder, piece_bytes, whole, on_bytes):
            if is_over.is_set():
                break
            on_piece(piece)
            pieces.append(piece)
        num_bytes = sum(piece.num_bytes for piece in pieces)
        return ModelFile(name, num_bytes, whole.hexdigest(), tuple(pieces))

    paths = model_files(model)
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        try:
            files = tuple(pool.map(read, paths))
        except BaseException:
            # A file may have many gigabytes to go.
            is_over.set()
            pool.shutdown(cancel_futures=True)
            raise
    return Manifest(version_of(files), folder, files)


def model_files(model: Path) -> list[Path]:
    """The files of a model's folder, without what git, this store and downloads leave in it.

    Raises:
        StoreFailed: the folder is missing or has no file.
    """
    if not model.is_dir():
        raise StoreFailed(str(model), "read", "it is no folder", "Name a folder with a model.")
    inside = ((path, path.relative_to(model)) for path in sorted(model.rglob("*")))
    found = [
        path for path, name in inside
        if path.is_file() and name.as_posix() != MANIFEST
        and not any(part.startswith(".") for part in name.parts)
    ]  # fmt: skip
    if not found:
        raise StoreFailed(
            str(model), "read", "it has no files", "Name a folder with a model; hidden files "
            "do not count.",
        )  # fmt: skip
    return found


def _pieces(
    path: Path, name: str, folder: str, piece_bytes: int | None, whole: Any, on_bytes: OnBytes
) -> Iterator[Piece]:
    """The file's pieces in order, at least one; `whole` takes in every byte."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if piece_bytes is None or size <= piece_bytes:
            num_bytes = _hash(file, size, (whole,), on_bytes)
            yield Piece(name, key_of(name, folder), 0, num_bytes, whole.hexdigest())
            return
        for index, offset in enumerate(range(0, size, piece_bytes)):
            part = hashlib.sha256()
            num_bytes = _hash(file, piece_bytes, (whole, part), on_bytes)
            key = key_of(name, folder, index)
            yield Piece(name, key, offset, num_bytes, part.hexdigest())


def _hash(file: BinaryIO, limit: int, hashes: tuple[Any, ...], on_bytes: OnBytes) -> int:
    """Feeds the file's next `limit` bytes, or what is left, to the hashes; how many there were."""
    left = limit
    while block := file.read(min(_BLOCK_BYTES, left)):
        for each in hashes:
            each.update(block)
        on_bytes(len(block))
        left -= len(block)
    return limit - left
