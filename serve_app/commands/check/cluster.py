"""`tandem check --cluster`: a cluster file before anything is started or paid for."""

import json as json_format
from pathlib import Path

import typer
from rich.console import Console


def check_cluster_file(file: Path, models: Path, json: Path | None) -> None:
    """Checks the cluster file against the tiers of the Serve file, shows and writes the report.

    Raises:
        typer.Exit: the file has errors.
    """
    # They import Ray and botocore, which other subcommands do not need.
    from deployments.schemas import cluster as schema
    from serve_app.check.cluster.file import check_cluster
    from serve_app.check.cluster.report import as_dict, show
    from serve_app.commands.serve_file import read_serve_file

    if not file.is_file():
        raise typer.BadParameter(f"{str(file)!r} does not exist", param_hint="--cluster")
    try:
        served = read_serve_file(models)
    except ValueError as err:
        raise typer.BadParameter(str(err), param_hint="FILE") from err
    with Console(stderr=True).status("Asking Ray and botocore ..."):
        checked = check_cluster(file, served.content, served.tiers, schema)
    show(checked, Console())
    if json is not None:
        json.write_text(json_format.dumps(as_dict(checked), indent=2) + "\n")
    if not checked.is_fine:
        raise typer.Exit(1)
