"""Tandem, started for a measurement as `tandem up` starts it, in a run folder of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from serve_app.bench.client import Address
from serve_app.bench.processes import uninterrupted
from serve_app.commands.local.instance import SERVE_RUN, Instance, find, forget, log_file, start
from serve_app.commands.local.watch import StartFailed, last_lines, wait_until_ready

HOST = "127.0.0.1"
TANDEM = Address(HOST, 18100)
_PATIENCE_S = 900.0
# Ray's HAProxy is reloaded up to five times while its targets become known, the last time some
# seconds after a router answers; connections that were opened meanwhile are closed.
_SETTLES_S = 6.0


@contextmanager
def tandem(content: dict[str, Any], folder: Path) -> Iterator[Address]:
    """Serves the file, which listens at `TANDEM`, until the end of the block.

    Raises:
        StartFailed: it did not become ready; the message has the end of its log.
    """
    with running(content, folder, TANDEM):
        yield TANDEM


@contextmanager
def running(
    content: dict[str, Any], folder: Path, address: Address, script: Path = SERVE_RUN
) -> Iterator[Instance]:
    """Serves the file, which listens at `address`, until the end of the block.

    Args:
        script: what is run on the file.

    Raises:
        StartFailed: it did not become ready; the message has the end of its log.
    """
    with started(content, folder, address, script) as instance:
        try:
            wait_until_ready(instance, log_file(folder), lambda _: None, _PATIENCE_S)
        except StartFailed as err:
            raise StartFailed(f"{last_lines(log_file(folder))}\n\nTandem: {err}") from err
        time.sleep(_SETTLES_S)
        yield instance


@contextmanager
def started(
    content: dict[str, Any], folder: Path, address: Address, script: Path = SERVE_RUN
) -> Iterator[Instance]:
    """Runs a Serve file of any kind until the end of the block; it need not be ready yet."""
    serve_file = folder / "serve.yaml"
    serve_file.write_text(yaml.safe_dump(content, sort_keys=False))
    with uninterrupted():
        instance = start(folder, serve_file, *address, {"HF_HUB_OFFLINE": "1"}, script)
    try:
        yield instance
    finally:
        with uninterrupted():
            instance.stop()
            forget(folder)


def end_leftover(folder: Path) -> None:
    """Ends what an earlier run left that was killed before it could."""
    leftover = find(folder)
    if leftover is not None:
        leftover.stop()
        forget(folder)
