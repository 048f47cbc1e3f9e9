"""What `tandem store` shows: progress bars and tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from deployments.store.manifest import Manifest
from deployments.store.node.cache import CachedModel
from deployments.store.places.types import OnBytes


@contextmanager
def phases(console: Console) -> Iterator[Callable[[str, int], OnBytes]]:
    """A bar for each phase of a transfer, in bytes per second."""
    columns = (
        TextColumn("{task.description:9}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:

        def start_phase(phase: str, num_bytes: int) -> OnBytes:
            task = bar.add_task(phase, total=num_bytes)
            return lambda count: bar.advance(task, count)

        yield start_phase


def gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.3f} GB" if num_bytes < 1e10 else f"{num_bytes / 1e9:.1f} GB"


def models_table(uri: str, found: Mapping[str, Manifest]) -> Table:
    table = Table(title=f"Models at {uri}", title_justify="left")
    for name in ("model", "version", "size", "files"):
        table.add_column(name)
    for model, manifest in found.items():
        size, files = gigabytes(manifest.num_bytes), str(len(manifest.files))
        table.add_row(model or ".", manifest.version, size, files)
    return table


def cache_table(root: Path, models: Sequence[CachedModel], now: float) -> Table:
    table = Table(title=f"Models in {root}, least recently used first", title_justify="left")
    for name in ("model", "size", "asked for", "state"):
        table.add_column(name)
    for model in models:
        state = "in use" if model.is_in_use else "whole" if model.is_whole else "unfinished"
        hours = (now - model.used_at) / 3600
        table.add_row(model.folder.name, gigabytes(model.num_bytes), f"{hours:.1f} h ago", state)
    return table
