"""Which files a model has, and the JSON that says so; knows no storage and reads no files.

Large files are cut into pieces, each an object of its own: it travels in one request, S3 has
nothing to put together, and what a killed transfer had finished stays finished.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Self

from deployments.store.places.types import StoreFailed

MANIFEST = "tandem-store.json"
PIECE_BYTES = 32 * 2**20
_FORMAT = 2


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
    """A whole model.

    Args:
        version: names the content, equal for equal files.
        folder: where its objects lie, below the model's own key; each push has one of its own.
    """

    version: str
    folder: str
    files: tuple[ModelFile, ...]

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)

    @property
    def pieces(self) -> list[Piece]:
        return [piece for file in self.files for piece in file.pieces]

    def moved_to(self, folder: str) -> Self:
        """The same model with its objects in another folder."""
        files = tuple(
            replace(f, pieces=cut(f.name, folder, [(p.num_bytes, p.sha256) for p in f.pieces]))
            for f in self.files
        )
        return replace(self, folder=folder, files=files)

    def to_json(self) -> bytes:
        files = {
            file.name: {
                "bytes": file.num_bytes,
                "sha256": file.sha256,
                "pieces": [{"bytes": p.num_bytes, "sha256": p.sha256} for p in file.pieces],
            }
            for file in self.files
        }
        document = {
            "format": _FORMAT, "version": self.version, "folder": self.folder, "files": files,
        }  # fmt: skip
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
        version, folder = str(document["version"]), str(document["folder"])
        _refuse_outside(version)
        _refuse_outside(folder)
        files = tuple(_read_file(name, folder, entry) for name, entry in document["files"].items())
        manifest = Manifest(version, folder, files)
        if version_of(files) != version:
            raise ValueError("its version does not fit the files it lists")
    except (ValueError, LookupError, TypeError, AttributeError) as err:
        raise StoreFailed(
            uri, "read", f"{MANIFEST} is damaged: {err}", "Push the model again with --overwrite."
        ) from err
    return manifest


def _read_file(name: str, folder: str, entry: dict[str, Any]) -> ModelFile:
    _refuse_outside(name)
    sums = [(int(piece["bytes"]), str(piece["sha256"])) for piece in entry["pieces"]]
    num_bytes = int(entry["bytes"])
    if sum(size for size, _ in sums) != num_bytes or any(size < 0 for size, _ in sums):
        raise ValueError(f"the pieces of {name!r} do not add up to {num_bytes} bytes")
    return ModelFile(name, num_bytes, str(entry["sha256"]), cut(name, folder, sums))


def _refuse_outside(name: str) -> None:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"{name!r} is no path inside the model")


def cut(name: str, folder: str, sums: list[tuple[int, str]]) -> tuple[Piece, ...]:
    """The pieces of a file whose bytes and SHA-256 these are, in order."""
    offset, pieces = 0, []
    for index, (num_bytes, sha256) in enumerate(sums):
        key = key_of(name, folder, index if len(sums) > 1 else None)
        pieces.append(Piece(name, key, offset, num_bytes, sha256))
        offset += num_bytes
    return tuple(pieces)


def key_of(name: str, folder: str, index: int | None = None) -> str:
    """The object of a file, or of one of its pieces."""
    return f"{folder}/{name}" + ("" if index is None else f".piece-{index:05d}")


def version_of(files: Iterable[ModelFile]) -> str:
    """Names the content: the same for the same files, however they are cut."""
    lines = (f"{file.sha256}  {file.name}\n" for file in sorted(files, key=lambda f: f.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
