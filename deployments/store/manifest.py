"""Which files a model has. A folder in, a Manifest out, and its JSON; knows no storage.

Large files are cut into pieces, each an object of its own: what a killed transfer had finished
stays finished.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deployments.store.places.types import StoreFailed

MANIFEST = "tandem-store.json"
PIECE_BYTES = 256 * 2**20
_FORMAT = 1
_BLOCK_BYTES = 2**20
_HASHING_THREADS = 4
# Counts bytes that were read, sent or received, as they are.
OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes of one file. key: its object, below the model's own key."""

    file: str
    key: str
    offset: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file; its pieces follow each other without a gap."""

    name: str
    num_bytes: int
    sha256: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole model. version: names the content, equal for equal files."""

    version: str
    files: tuple[ModelFile, ...]

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)

    @property
    def pieces(self) -> list[Piece]:
        return [piece for file in self.files for piece in file.pieces]

    def to_json(self) -> bytes:
        files = {
            file.name: {
                "bytes": file.num_bytes,
                "sha256": file.sha256,
                "pieces": [{"bytes": p.num_bytes, "sha256": p.sha256} for p in file.pieces],
            }
            for file in self.files
        }
        document = {"format": _FORMAT, "version": self.version, "files": files}
        return json.dumps(document, indent=1).encode() + b"\n"


def read_manifest(data: bytes, uri: str) -> Manifest:
    """The manifest that `to_json` wrote.

    Raises:
        StoreFailed: it is not one, names a path outside the model, or its sizes do not add up.
    """
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']!r}, this release reads {_FORMAT}")
        version = str(document["version"])
        _refuse_outside(version)
        files = tuple(_read_file(name, version, entry) for name, entry in document["files"].items())
        manifest = Manifest(version, files)
        if _version_of(files) != version:
            raise ValueError("its version does not fit the files it lists")
    except (ValueError, LookupError, TypeError, AttributeError) as err:
        raise StoreFailed(
            uri, "read", f"{MANIFEST} is damaged: {err}", "Push the model again."
        ) from err
    return manifest


def _read_file(name: str, version: str, entry: dict[str, Any]) -> ModelFile:
    _refuse_outside(name)
    sums = [(int(piece["bytes"]), str(piece["sha256"])) for piece in entry["pieces"]]
    num_bytes = int(entry["bytes"])
    if sum(size for size, _ in sums) != num_bytes or any(size < 0 for size, _ in sums):
        raise ValueError(f"the pieces of {name!r} do not add up to {num_bytes} bytes")
    return ModelFile(name, num_bytes, str(entry["sha256"]), _pieces(name, version, sums))


def _refuse_outside(name: str) -> None:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"{name!r} is no path inside the model")


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
    version = _version_of(unversioned)
    files = tuple(
        ModelFile(file.name, file.num_bytes, file.sha256, _pieces(file.name, version, pieces))
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


def _pieces(name: str, version: str, sums: list[tuple[int, str]]) -> tuple[Piece, ...]:
    offset, pieces = 0, []
    for index, (num_bytes, sha256) in enumerate(sums):
        suffix = "" if len(sums) == 1 else f".piece-{index:05d}"
        pieces.append(Piece(name, f"{version}/{name}{suffix}", offset, num_bytes, sha256))
        offset += num_bytes
    return tuple(pieces)


def _version_of(files: Iterable[ModelFile]) -> str:
    lines = (f"{file.sha256}  {file.name}\n" for file in sorted(files, key=lambda f: f.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
