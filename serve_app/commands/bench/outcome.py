"""How every measurement ends: a report on the terminal and on disk, errors in red, an exit code."""

import json as json_format
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from deployments.weights.scripts import ScriptFailed
from serve_app.bench.calibration.plots import NoPlots
from serve_app.bench.chaos.update import UpdateRefused
from serve_app.bench.load import LoadFailed
from serve_app.bench.processes import ServerFailed
from serve_app.commands.local.watch import StartFailed

_FAILURES = (
    ServerFailed,
    StartFailed,
    LoadFailed,
    ScriptFailed,
    UpdateRefused,
    NoPlots,
    ValueError,
    OSError,
)


def conclude(measure: Callable[[Console], dict[str, Any] | None], json: Path | None) -> None:
    """Measures and writes the document, if there is one yet, to `json`.

    Raises:
        typer.Exit: with 1 when something did not run, or `is_met` of the document is False.
    """
    console = Console(highlight=False, soft_wrap=True)
    # Ended by `kill`, it stops what it started as it does on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        document = measure(console)
        if json is not None and document is not None:
            json.write_text(json_format.dumps(document, indent=2) + "\n")
    except _FAILURES as err:
        console.print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err
    if document is not None and not document.get("is_met", True):
        raise typer.Exit(1)
