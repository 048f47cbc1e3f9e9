"""Which files a model has, and the JSON that says so; knows no storage and reads no files.

Large files are cut into pieces. Each is an object that is named after its content: other bytes are
never written there, what a killed push had brought stays good whoever pushes next, and versions
share what is equal in them.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from deployments.store.places.types import StoreFailed

MANIFEST = "tandem-store.json"
# Hidden, as no file of a model is.
PIECES = ".pieces"
PIECE_BYTES = 32 * 2**20
_FORMAT = 2
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes of one file."""

    file: str
    offset: int
    num_bytes: int
    sha256: str

    @property
    def key(self) -> str:
        """Its object, below the model's own key."""
        return f"{PIECES}/{self.sha256}"

    @property
    def name(self) -> str:
        """Of all of the model's pieces only this one is called so."""
        return f"{self.file}[{self.offset}:{self.offset + self.num_bytes}]"


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

    @property
    def keys(self) -> frozenset[str]:
        """The objects that its pieces are in."""
        return frozenset(piece.key for piece in self.pieces)

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
        files = tuple(_read_file(name, entry) for name, entry in document["files"].items())
        manifest = Manifest(version, files)
        if version_of(files) != version:
            raise ValueError("its version does not fit the files it lists")
    except (ValueError, LookupError, TypeError, AttributeError) as err:
        raise StoreFailed(
            uri,
            "read",
            f"{MANIFEST} cannot be read: {err}",
            "Push the model again with --overwrite.",
        ) from err
    return manifest


def _read_file(name: str, entry: dict[str, Any]) -> ModelFile:
    _refuse_outside(name)
    sums = [(int(piece["bytes"]), str(piece["sha256"])) for piece in entry["pieces"]]
    num_bytes = int(entry["bytes"])
    if sum(size for size, _ in sums) != num_bytes or any(size < 0 for size, _ in sums):
        raise ValueError(f"the pieces of {name!r} do not add up to {num_bytes} bytes")
    return ModelFile(name, num_bytes, str(entry["sha256"]), _cut(name, sums))


def _refuse_outside(name: str) -> None:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"{name!r} is no path inside the model")


def _cut(name: str, sums: list[tuple[int, str]]) -> tuple[Piece, ...]:
    """The pieces of a file whose bytes and SHA-256 these are, in order."""
    offset, pieces = 0, []
    for num_bytes, sha256 in sums:
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no SHA-256")
        pieces.append(Piece(name, offset, num_bytes, sha256))
        offset += num_bytes
    return tuple(pieces)


def version_of(files: Iterable[ModelFile]) -> str:
    """Names the content: the same for the same files, however they are cut."""
    lines = (f"{file.sha256}  {file.name}\n" for file in sorted(files, key=lambda f: f.name))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
