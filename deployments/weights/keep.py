"""Keeps a folder that is costly to make: made once, whole or not at all, by one process at a time.

In: where the folder lies and a function that fills one. Out: the folder, with a manifest of sizes
and SHA-256 sums that was written last. Knows nothing of models.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "manifest.json"
Make = Callable[[Path], None]


def keep(folder: Path, recipe: str, make: Make) -> bool:
    """Has `make` fill `folder`, unless the folder is already there, whole, and of this recipe.

    A second process that asks meanwhile waits and then finds the first one's result. What a killed
    process left half made is removed.

    Args:
        recipe: names how the content is made; another recipe makes it anew.
        make: fills the empty folder that it is given.

    Returns:
        Whether it had to be made.
    """
    with locked(folder):
        for leftover in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if is_whole(folder, recipe):
            return False
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.making-", dir=folder.parent))
        try:
            make(making)
            write_manifest(making, recipe)
            replace(folder, making)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock file beside `folder`; the kernel lets it go even after `kill -9`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_whole(folder: Path, recipe: str) -> bool:
    """Whether every file that the manifest lists is there, with its size and sum, of this recipe.

    Sums are always taken: 0.4 s for the embedded models, whose files the engine reads next anyway.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        made_by, listed = manifest["recipe"], manifest["files"].items()
    except (FileNotFoundError, ValueError, LookupError):
        return False
    if made_by != recipe:
        return False
    # Sizes first: a cut file is found without reading the others.
    if not all(has_size(folder / name, entry["bytes"]) for name, entry in listed):
        return False
    return all(sha256(folder / name) == entry["sha256"] for name, entry in listed)


def write_manifest(folder: Path, recipe: str) -> None:
    """Writes the manifest, after everything that it lists has reached the disk."""
    folder.chmod(0o755)
    for file in files(folder):
        # Readable by whoever may enter the folder: safetensors writes with mode 600.
        file.chmod(0o644)
        with file.open("rb") as content:
            os.fsync(content.fileno())
    manifest = {
        "recipe": recipe,
        "files": {
            str(file.relative_to(folder)): {"bytes": size(file), "sha256": sha256(file)}
            for file in files(folder)
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def files(folder: Path) -> list[Path]:
    """Every file below `folder` but the manifest."""
    return sorted(f for f in folder.rglob("*") if f.is_file() and f != folder / MANIFEST)


def has_size(file: Path, expected: int) -> bool:
    return file.is_file() and size(file) == expected


def size(file: Path) -> int:
    return file.stat().st_size


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def replace(folder: Path, made: Path) -> None:
    """Puts `made` where `folder` is. A folder cannot replace a full one in one step: the old one
    moves aside under a name that the next run would remove."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
        os.replace(folder, aside / folder.name)
        os.replace(made, folder)
        shutil.rmtree(aside, ignore_errors=True)
        return
    os.replace(made, folder)
