"""`tandem store gc`: what nobody reads any more, at a place or on this machine."""

import os
from contextlib import closing
from typing import Annotated

import typer

from deployments.local_models import tandem_home
from deployments.store.gc import collect, garbage
from deployments.store.node.cache import node_cache
from serve_app.commands.store.common import URI, Json, failing, new_console, place_at, write
from serve_app.commands.store.tables import gigabytes

console = new_console()


def gc(
    uri: Annotated[
        str | None, typer.Argument(help=f"{URI}; this machine's cache when left out.")
    ] = None,
    older_than_hours: Annotated[
        float, typer.Option(min=0, help="Spare younger pieces at a place: a push may be at work.")
    ] = 24.0,
    limit_gb: Annotated[
        float, typer.Option(min=0, help="Keep so much of the cache, the latest used.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option(help="Only say what would go.")] = False,
    json: Json = None,
) -> None:
    """Remove unneeded pieces and unfinished uploads at a place, or what the cache has too much.

    What a replica runs stays.
    """
    with failing():
        if uri is None:
            cache = node_cache(tandem_home(), os.environ)
            models = cache.evict(int(limit_gb * 1e9), is_dry_run=dry_run)
            removed = {str(model.folder): model.num_bytes for model in models}
        else:
            with closing(place_at(uri)) as place:
                older_than_s = older_than_hours * 3600
                found = garbage(place, older_than_s)
                name = f"{len(found)} pieces at {place.uri}"
                removed = {name: sum(found.values())} if found else {}
                aborted = 0 if dry_run else collect(place, found, older_than_s)
            if aborted:
                console.print(f"ended {aborted} unfinished uploads")
    verb = "would remove" if dry_run else "removed"
    for name, num_bytes in removed.items():
        console.print(f"{verb} {name}: {gigabytes(num_bytes)}", markup=False)
    console.print(f"{verb} {gigabytes(sum(removed.values()))}")
    write(json, {"object": "tandem.store.gc", "is_dry_run": dry_run, "removed_bytes": removed})
