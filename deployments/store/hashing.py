"""A folder's files become a manifest: every byte is read once."""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deployments.store.manifest import MANIFEST, Manifest, ModelFile, cut, version_of
from deployments.store.places.types import OnBytes, StoreFailed

_BLOCK_BYTES = 2**20
_HASHING_THREADS = 4


def make_manifest(folder: Path, piece_bytes: int | None, on_bytes: OnBytes) -> Manifest:
    """Reads every file of the folder once, four at a time.

    Args:
        piece_bytes: larger files are cut into pieces of so many bytes; None keeps them whole.

    Raises:
        StoreFailed: the folder is missing or empty.
    """
    paths = model_files(folder)

    def sums(path: Path) -> tuple[str, list[tuple[int, str]]]:
        return _sums(path, piece_bytes, on_bytes)

    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        hashed = list(pool.map(sums, paths))
    names = [path.relative_to(folder).as_posix() for path in paths]
    unversioned = tuple(
        ModelFile(name, sum(size for size, _ in pieces), sha256, ())
        for name, (sha256, pieces) in zip(names, hashed, strict=True)
    )
    version = version_of(unversioned)
    files = tuple(
        ModelFile(file.name, file.num_bytes, file.sha256, cut(file.name, version, pieces))
        for file, (_, pieces) in zip(unversioned, hashed, strict=True)
    )
    return Manifest(version, files)


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder, without what git, this store and downloads leave in it.

    Raises:
        StoreFailed: the folder is missing or has no file.
    """
    if not folder.is_dir():
        raise StoreFailed(str(folder), "read", "it is no folder", "Name a folder with a model.")
    inside = ((path, path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    found = [
        path for path, name in inside
        if path.is_file() and name.as_posix() != MANIFEST
        and not any(part.startswith(".") for part in name.parts)
    ]  # fmt: skip
    if not found:
        raise StoreFailed(
            str(folder), "read", "it has no files", "Name a folder with a model; hidden files "
            "do not count.",
        )  # fmt: skip
    return found


def _sums(
    path: Path, piece_bytes: int | None, on_bytes: OnBytes
) -> tuple[str, list[tuple[int, str]]]:
    """SHA-256 of the file, and bytes and SHA-256 of each of its pieces."""
    whole = hashlib.sha256()
    pieces: list[tuple[int, str]] = []
    is_cut = piece_bytes is not None and path.stat().st_size > piece_bytes
    with path.open("rb") as file:
        if not is_cut or piece_bytes is None:
            size = sum(_hashed(file, None, (whole,), on_bytes))
            return whole.hexdigest(), [(size, whole.hexdigest())]
        while True:
            part = hashlib.sha256()
            size = sum(_hashed(file, piece_bytes, (whole, part), on_bytes))
            if size == 0:
                return whole.hexdigest(), pieces
            pieces.append((size, part.hexdigest()))


def _hashed(
    file: Any, limit: int | None, hashes: Iterable[Any], on_bytes: OnBytes
) -> Iterator[int]:
    """Feeds at most `limit` bytes of the file to the hashes; the size of each block read."""
    left = limit
    while left is None or left > 0:
        block = file.read(_BLOCK_BYTES if left is None else min(_BLOCK_BYTES, left))
        if not block:
            return
        for each in hashes:
            each.update(block)
        on_bytes(len(block))
        if left is not None:
            left -= len(block)
        yield len(block)
