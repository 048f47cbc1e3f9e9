"""What the subcommands of `tandem store` share: options, places, errors, JSON."""

import json as json_format
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.store.manifest import Manifest
from deployments.store.places import open_place
from deployments.store.places.types import Place, StoreFailed
from deployments.store.transfer.push import published_manifest
from deployments.store.verify import not_published

Json = Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")]
Bandwidth = Annotated[
    float | None, typer.Option(min=0.1, help="Limit for S3, in MB/s, where others share the line.")
]
URI = "s3://bucket/prefix or a folder"


def new_console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def place_at(uri: str, max_mb_per_s: float | None = None) -> Place:
    return open_place(uri, None if max_mb_per_s is None else int(max_mb_per_s * 1e6))


def published(place: Place) -> Manifest:
    manifest = published_manifest(place)
    if manifest is None:
        raise not_published(place)
    return manifest


def described(place: Place, manifest: Manifest) -> dict[str, Any]:
    return {"object": "tandem.store.model", "uri": place.uri, **summary(manifest)}


def summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": manifest.version, "bytes": manifest.num_bytes, "files": len(manifest.files),
    }  # fmt: skip


def write(path: Path | None, document: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json_format.dumps(document, indent=2) + "\n")


@contextmanager
def failing() -> Iterator[None]:
    """Says what went wrong in one sentence; exit code 1."""
    try:
        yield
    # OverflowError: of an option such as `--limit-gb inf`.
    except (StoreFailed, ValueError, OverflowError, OSError) as err:
        Console(stderr=True).print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err
