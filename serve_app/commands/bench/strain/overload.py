"""`tandem bench overload`: what becomes of requests when three times too many come."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import tandem_home
from serve_app.bench.client import Address
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.overload import phases, report
from serve_app.bench.overload.callers import client_of
from serve_app.bench.overload.scenario import fake_tiers
from serve_app.bench.processes import alone, refuse_taken
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.bench.server import TANDEM, end_leftover, tandem
from serve_app.commands.local.environment import private_folder
from serve_app.commands.progress import progress


def overload(
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """Goodput, kept promises and refusals at three times the capacity.

    \b
    Fake tiers with long steps behind the real application: Ray, HAProxy, HTTP. First a ladder of
    rates for the peak goodput, then three times that for a minute, from callers who come back as
    Retry-After says. Takes some five minutes.
    Exit code 0: every target is met. 1: one is missed, or something did not run.
    """

    def measure(console: Console) -> dict[str, Any]:
        with alone(private_folder(tandem_home() / "bench")) as folder:
            return _measure(folder, console)

    conclude(measure, json)


def _measure(folder: Path, console: Console) -> dict[str, Any]:
    """Runs all phases, shows the report and returns it as a document."""
    end_leftover(folder)
    refuse_taken([TANDEM])
    machine = describe_machine()
    content = fake_tiers(TANDEM, str(private_folder(folder / "decisions")))
    with progress(console, 1 + phases.NUM_STEPS) as say:
        say("starting Tandem")
        with tandem(content, folder) as address:
            outcome = asyncio.run(_run(address, say))
    judged = report.verdicts(outcome)
    document = report.as_document(outcome, judged, machine, versions(["ray"]))
    report.show(judged, document, console)
    return document


async def _run(address: Address, say: phases.Say) -> phases.Outcome:
    async with client_of(address) as client:
        return await phases.run(client, say)
