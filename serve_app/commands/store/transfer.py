"""`tandem store push` and `pull`: models to a place and from it."""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from deployments.local_models import resolve_source, tandem_home
from deployments.store.manifest import PIECE_BYTES
from deployments.store.node.cache import node_cache
from deployments.store.transfer.pull import pull_folder
from deployments.store.transfer.push import push as push_folder
from serve_app.commands.store.common import (
    URI,
    Bandwidth,
    Json,
    described,
    failing,
    new_console,
    place_at,
    published,
    write,
)
from serve_app.commands.store.tables import gigabytes, phases

console = new_console()


def push(
    folder: Annotated[str, typer.Argument(help="Model folder, or embedded:NAME.")],
    uri: Annotated[str, typer.Argument(help=f"Where to publish: {URI}.")],
    piece_mb: Annotated[
        int,
        typer.Option(min=1, max=1024, help="Cut larger files, each piece an object of its own."),
    ] = PIECE_BYTES // 2**20,
    overwrite: Annotated[bool, typer.Option(help="Send also what is there already.")] = False,
    max_mb_per_s: Bandwidth = None,
    json: Json = None,
) -> None:
    """Publish a model folder; run again after an interruption, it goes on.

    Readers get the model published before until all of the new one is there.
    """
    with failing(), closing(place_at(uri, max_mb_per_s)) as place, phases(console) as start_phase:
        began_s = time.monotonic()
        model = Path(str(resolve_source(folder))).absolute()
        pushed = push_folder(
            model, place, start_phase, piece_bytes=piece_mb * 2**20, is_overwriting=overwrite
        )
        took_s = time.monotonic() - began_s
    console.print(
        f"published {place.uri} version {pushed.manifest.version}: "
        f"{gigabytes(pushed.manifest.num_bytes)} in {len(pushed.manifest.files)} files, "
        f"{gigabytes(pushed.sent_bytes)} sent, {gigabytes(pushed.kept_bytes)} there already, "
        f"{took_s:.1f} s"
    )
    write(json, described(place, pushed.manifest) | {
        "sent_bytes": pushed.sent_bytes, "kept_bytes": pushed.kept_bytes,
        "seconds": round(took_s, 3),
    })  # fmt: skip


def pull(
    uri: Annotated[str, typer.Argument(help=f"A published model: {URI}.")],
    folder: Annotated[
        Path | None, typer.Argument(help="Where to; this machine's cache when left out.")
    ] = None,
    max_mb_per_s: Bandwidth = None,
    json: Json = None,
) -> None:
    """Fetch a published model as a plain folder; run again after an interruption, it goes on."""
    with failing(), closing(place_at(uri, max_mb_per_s)) as place, phases(console) as start_phase:
        began_s = time.monotonic()
        manifest = published(place)
        if folder is None:
            # Let go when the command ends: nobody runs it yet.
            held = node_cache(tandem_home(), os.environ).obtain(place, manifest, start_phase)
            target, fetched_bytes = held.folder, held.fetched_bytes
        else:
            target = folder.absolute()
            fetched_bytes = pull_folder(place, manifest, target, start_phase)
        took_s = time.monotonic() - began_s
    console.print(
        f"{gigabytes(manifest.num_bytes)} in {target}, {gigabytes(fetched_bytes)} fetched, "
        f"{took_s:.1f} s"
    )
    told = {"folder": str(target), "fetched_bytes": fetched_bytes, "seconds": round(took_s, 3)}
    write(json, described(place, manifest) | told)
