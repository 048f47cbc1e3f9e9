"""`tandem bench store`: the model store beside `aws s3 sync`, on one S3 server."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deployments.local_models import tandem_home
from serve_app.bench import store as bench
from serve_app.bench.client import Address
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.peers import aws_cli
from serve_app.bench.processes import alone, refuse_taken
from serve_app.bench.targets import table_of
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.local.environment import private_folder
from serve_app.commands.progress import progress

_SERVER = Address("127.0.0.1", 18120)
_OURS, _PEER, _TUNED = "tandem store", "aws s3 sync", "aws s3 sync, our parts"


def store(
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
    gb: Annotated[float, typer.Option(min=0.01, help="Size of the synthetic model.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=1, help="Transfers of each kind.")] = 2,
) -> None:
    """Throughput of push and pull beside `aws s3 sync`, with its defaults and with our part size.

    \b
    All against moto's server on this machine, by turns, start of the programs included. Takes some
    five minutes and 10 GB of disk; the first time, the AWS client is installed beside it.
    Exit code 0: every target is met. 1: one is missed, or something did not run.
    """

    def measure(console: Console) -> dict[str, Any]:
        with alone(private_folder(tandem_home() / "bench")) as folder:
            return _measure(int(gb * 1e9), rounds, folder, console)

    conclude(measure, json)


def _measure(num_bytes: int, rounds: int, folder: Path, console: Console) -> dict[str, Any]:
    """Runs all rounds, shows the report and returns it as a document."""
    refuse_taken([_SERVER])
    console.print("making sure of the AWS client's environment")
    sync = aws_cli.sync(tandem_home())
    machine = describe_machine()
    with progress(console, 1 + 6 * rounds) as say:
        say("writing the synthetic model")
        model = bench.synthetic_model(folder / "store-model", num_bytes)
        try:
            with bench.s3_server(_SERVER, folder) as variables:
                # This process deletes what was pushed.
                os.environ.update(variables)
                movers = _movers(sync, variables, folder)
                took = list(bench.rounds(movers, model, rounds, say))
        finally:
            shutil.rmtree(model)
    seconds = bench.medians(took)
    judged = bench.verdicts(seconds, _OURS, _PEER)
    installed = versions(["boto3", "s3transfer", "moto"]) | {"awscli": aws_cli.version()}
    about = {"machine": machine, "versions": installed}
    console.print(_table(seconds, num_bytes))
    console.print(table_of("What is asked", judged))
    return bench.as_document(took, judged, num_bytes, about)


def _movers(sync: Sequence[str], variables: Mapping[str, str], folder: Path) -> list[bench.Mover]:
    tandem = str(Path(sys.executable).with_name("tandem"))
    push, pull = (tandem, "store", "push"), (tandem, "store", "pull")
    tuned = {**variables, **aws_cli.tuned_settings(folder)}
    return [
        bench.Mover(_OURS, push, pull, variables),
        bench.Mover(_PEER, sync, sync, variables),
        bench.Mover(_TUNED, sync, sync, tuned),
    ]


def _table(seconds: Mapping[str, Mapping[str, float]], num_bytes: int) -> Table:
    table = Table(title=f"{num_bytes / 1e9:g} GB, MB/s (median)", title_justify="left")
    for name in ("by", "push", "pull"):
        table.add_column(name)
    for name, verbs in seconds.items():
        rates = (f"{num_bytes / 1e6 / verbs[verb]:.0f}" for verb in ("push", "pull"))
        table.add_row(name, *rates)
    return table
