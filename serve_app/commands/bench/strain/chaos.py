"""`tandem bench chaos`: things are killed, frozen and slowed down while requests are answered."""

import asyncio
import random
from collections.abc import Sequence
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import tandem_home
from serve_app.bench.chaos import report, scenario
from serve_app.bench.chaos.callers import Callers
from serve_app.bench.chaos.faults import Faults, Kind
from serve_app.bench.chaos.rounds import Round, Say, rounds
from serve_app.bench.chaos.update import deploy
from serve_app.bench.client import Address
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.processes import alone, refuse_taken
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.bench.server import HOST, end_leftover, running
from serve_app.commands.local.environment import private_folder
from serve_app.commands.local.instance import SERVE_RUN
from serve_app.commands.progress import progress

# Apart from the other measurements, which may run meanwhile.
_ADDRESS = Address(HOST, 18160)
_SEVERAL_NODES = Path(report.__file__).parent / "cluster.py"
_RATE_PER_S = 8.0
_SEED = 5


class Fault(StrEnum):
    """What can be broken of fake tiers; their engine is the replica itself."""

    replica = "replica"
    router = "router"
    haproxy = "haproxy"
    node = "node"
    freeze = "freeze"
    slow = "slow"
    update = "update"
    controller = "controller"
    gcs = "gcs"


def chaos(
    rounds: Annotated[int, typer.Option(min=1, help="How many faults, one after the other.")] = 24,
    fault: Annotated[
        list[Fault] | None, typer.Option(help="Only these, in turn; all but gcs when left out.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Requests per second, every second one streamed.")
    ] = _RATE_PER_S,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """What becomes of requests when parts of the service die under them.

    \b
    Starts Tandem with two fake tiers of two replicas, two routers and, where nodes are to be lost,
    three Ray nodes on this machine; then kills, freezes and slows down one process after the
    other. The fakes count, so a word that is missing or said twice is seen. Ray's GCS comes back
    only where it keeps its state in Redis (RAY_REDIS_ADDRESS).
    Exit code 0: nothing was lost or broken. 1: something was, or something did not run.
    """
    kinds: list[Kind] = [kind.value for kind in fault or [k for k in Fault if k != Fault.gcs]]

    def measure(console: Console) -> dict[str, Any]:
        with alone(private_folder(tandem_home() / "chaos")) as folder:
            return _measure(folder, list(islice(cycle(kinds), rounds)), rate, console)

    conclude(measure, json)


def _measure(
    folder: Path, kinds: Sequence[Kind], rate_per_s: float, console: Console
) -> dict[str, Any]:
    """Runs all rounds, shows the report and returns it as a document."""
    end_leftover(folder)
    refuse_taken([_ADDRESS])
    machine = describe_machine()
    has_nodes = "node" in kinds
    content = scenario.fake_tiers(_ADDRESS, has_nodes=has_nodes)
    with progress(console, 1 + len(kinds)) as say:
        say("starting Tandem")
        script = _SEVERAL_NODES if has_nodes else SERVE_RUN
        with running(content, folder, _ADDRESS, script) as instance:
            versions_of = scenario.updates(content)

            async def update() -> tuple[str, int]:
                what, version = next(versions_of)
                await deploy(instance.processes(), version, folder)
                return what, scenario.num_replicas(version)

            faults = Faults(instance.processes, random.Random(_SEED), update)
            done = asyncio.run(_run(kinds, faults, instance.address, rate_per_s, say))
    judged = report.verdicts(done, len(kinds))
    document = report.as_document(done, judged, machine, versions(["ray"]), "fake")
    report.show(judged, document, console)
    return document


async def _run(
    kinds: Sequence[Kind], faults: Faults, base_url: str, rate_per_s: float, say: Say
) -> list[Round]:
    callers = Callers(base_url, rate_per_s, scenario.asked)
    return await rounds(kinds, faults, callers, base_url, say)
