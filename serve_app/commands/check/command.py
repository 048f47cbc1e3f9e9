"""`tandem check`: is a Serve file right, does it fit, is it fast enough; starts nothing."""

import json as json_format
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serve_app.commands.check.cluster import check_cluster_file


def check(
    file: Annotated[Path, typer.Argument(help="A Serve config file.")] = Path("models.yaml"),
    cluster: Annotated[
        Path | None,
        typer.Option(help="Check this file of cluster/ instead: does it hold FILE's tiers?"),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """Verify a Serve file before anything starts: every key, every value, memory and speed.

    \b
    Needs no GPU, no network and no running cluster. With --cluster: keys and values of a file for
    `ray up` or KubeRay, room for every replica, list prices, and what AWS must allow.
    Exit code 0: the file is fine; warnings may have been printed, such as a class that only
                 one tier can meet.
    Exit code 1: the file has errors, weights do not fit their GPUs, or no tier can meet a class
                 that says `on_infeasible: reject`.
    Exit code 2: the command was called wrongly, or the file does not exist.
    """
    if cluster is not None:
        check_cluster_file(cluster, file, json)
        return
    # They import pydantic models and rich tables that other subcommands do not need.
    from deployments.schemas import engine
    from serve_app.check.file.serve_file import check_text
    from serve_app.check.report import as_dict, make_report
    from serve_app.check.tables import show

    if not file.is_file():
        raise typer.BadParameter(f"{str(file)!r} does not exist", param_hint="FILE")
    with Console(stderr=True).status("Asking Ray Serve and vLLM; importing them takes 10 s ..."):
        report = make_report(str(file), check_text(file.read_bytes(), engine))
    show(report, Console())
    if json is not None:
        json.write_text(json_format.dumps(as_dict(report), indent=2) + "\n")
    if not report.is_fine:
        raise typer.Exit(1)
