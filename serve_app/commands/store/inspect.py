"""`tandem store ls` and `verify`: what is at a place or on this machine, and is it whole."""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from deployments.local_models import tandem_home
from deployments.store.manifest import MANIFEST, PIECES, Manifest, read_manifest
from deployments.store.node.cache import node_cache
from deployments.store.places.types import Place, StoreFailed
from deployments.store.verify import verify_folder, verify_place
from serve_app.commands.store.common import (
    URI,
    Json,
    failing,
    new_console,
    place_at,
    summary,
    write,
)
from serve_app.commands.store.tables import cache_table, models_table, phases

console = new_console()


def ls(
    uri: Annotated[
        str | None, typer.Argument(help=f"{URI}; this machine's cache when left out.")
    ] = None,
    json: Json = None,
) -> None:
    """List the models published below a place, or those in this machine's cache."""
    with failing():
        if uri is None:
            cache = node_cache(tandem_home(), os.environ)
            models = cache.models()
            console.print(cache_table(cache.root, models, time.time()))
            write(json, {"object": "tandem.store.cache", "models": [
                {
                    "folder": str(model.folder), "bytes": model.num_bytes,
                    "used_at": model.used_at, "is_whole": model.is_whole,
                    "is_in_use": model.is_in_use,
                }
                for model in models
            ]})  # fmt: skip
            return
        with closing(place_at(uri)) as place:
            found, broken = _models_below(place)
        console.print(models_table(place.uri, found))
        write(json, {"object": "tandem.store.models", "models": [
            {"uri": f"{place.uri}/{name}".rstrip("/"), **summary(manifest)}
            for name, manifest in found.items()
        ], "problems": broken})  # fmt: skip
        for problem in broken:
            console.print(problem, style="red", markup=False)
        if broken:
            raise typer.Exit(1)


def verify(
    what: Annotated[
        str | None, typer.Argument(help="A place or a pulled folder; the cache when left out.")
    ] = None,
    json: Json = None,
) -> None:
    """Read every byte and compare it with the SHA-256 sums; exit code 1 when something is wrong."""
    with failing(), phases(console) as start_phase:
        problems = {}
        if what is None:
            for model in node_cache(tandem_home(), os.environ).models():
                if model.is_whole:
                    problems[str(model.folder)] = verify_folder(model.folder, start_phase)
        elif _is_pulled(what):
            problems[what] = verify_folder(Path(what).expanduser(), start_phase)
        else:
            with closing(place_at(what)) as place:
                problems[place.uri] = verify_place(place, start_phase)
    for name, found in problems.items():
        console.print(f"{name} is {'damaged' if found else 'whole'}", markup=False)
        for problem in found:
            console.print(f"  {problem}", style="red", markup=False)
    is_fine = not any(problems.values())
    write(json, {"object": "tandem.store.verify", "is_fine": is_fine, "problems": problems})
    if not is_fine:
        console.print("Push or pull it again; `tandem store push --overwrite` repairs a place.")
        raise typer.Exit(1)


def _models_below(place: Place) -> tuple[dict[str, Manifest], list[str]]:
    """Manifests by the name below the place, "" for itself; and why others could not be read."""
    found, broken = {}, []
    for key in sorted(place.sizes()):
        if key == MANIFEST or key.endswith(f"/{MANIFEST}"):
            name, data = key.removesuffix(MANIFEST).rstrip("/"), place.read(key)
            try:
                if data is not None:
                    found[name] = read_manifest(data, f"{place.uri}/{name}".rstrip("/"))
            except StoreFailed as err:
                broken.append(str(err))
    return found, broken


def _is_pulled(what: str) -> bool:
    """Whether it is a pulled folder, and no place that holds pieces."""
    if "://" in what:
        return False
    folder = Path(what).expanduser()
    return (folder / MANIFEST).is_file() and not (folder / PIECES).is_dir()
