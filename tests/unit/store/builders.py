"""Model folders and places for the tests of the store."""

import random
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from deployments.store.manifest import Manifest
from deployments.store.places.folder import FolderPlace
from deployments.store.places.types import OnBytes, Place
from deployments.store.transfer.push import Pushed, StartPhase, push

PIECE_BYTES = 1000


def a_model(folder: Path, seed: int = 1, **sizes: int) -> Path:
    """A folder with `weights.bin` of 3.5 pieces, a small config, and a file in a subfolder."""
    source = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in ({"weights.bin": 3500, "config.json": 10, "sub/empty": 0} | sizes).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source.randbytes(size))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the model, by its name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "tandem-store.json"
    }


def unseen(phase: str, num_bytes: int) -> OnBytes:
    return lambda count: None


class Phases:
    """Remembers how many bytes each phase was said to have, and how many it then counted."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}
        self.counted: dict[str, int] = {}

    def __call__(self, phase: str, num_bytes: int) -> Callable[[int], None]:
        self.told[phase] = num_bytes
        self.counted[phase] = 0

        def on_bytes(count: int) -> None:
            self.counted[phase] += count

        return on_bytes


def push_in_pieces(
    model: Path,
    place: Place,
    start_phase: StartPhase = unseen,
    *,
    is_overwriting: bool = False,
) -> Pushed:
    return push(model, place, start_phase, piece_bytes=PIECE_BYTES, is_overwriting=is_overwriting)


def published(model: Path, place: Place) -> Manifest:
    return push_in_pieces(model, place).manifest


class FailingPlace(FolderPlace):
    """Fails for good after so many transfers, as when the process is killed there; one by one."""

    def __init__(self, folder: Path, transfers: int) -> None:
        super().__init__(folder)
        self.left = transfers
        self._lock = Lock()

    def upload(self, *arguments: Any) -> None:
        with self._lock:
            self._count()
            super().upload(*arguments)

    def download(self, *arguments: Any) -> None:
        with self._lock:
            self._count()
            super().download(*arguments)

    def _count(self) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
