"""`tandem bench load`: a load on a running server, scored by each request's SLO."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from serve_app.bench.load import LoadFailed
from serve_app.bench.machine import describe_machine
from serve_app.bench.traffic import report
from serve_app.bench.traffic.load import Load, open_loop
from serve_app.bench.traffic.records import Record, write_records
from serve_app.bench.traffic.scores import scores
from serve_app.bench.users.run import Users, closed_loop
from serve_app.commands.bench.outcome import conclude


def load(
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Requests per second: evenly spaced, or the trace's mean."),
    ] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="A closed loop of so many users, by locust.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="CSV file with arrived_at_s,prompt_tokens,output_tokens to replay."),
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.001, help="Lengths, against those of the trace.")
    ] = 1.0,
    pace_s: Annotated[
        float, typer.Option(min=0, help="With --users: how often each wants to ask; 0: at once.")
    ] = 0.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long requests are sent.")] = 60.0,
    model: Annotated[str, typer.Option(help="What each request names.")] = "auto",
    slo_ms: Annotated[
        float | None,
        typer.Option(min=1, help="The same SLO for all; else 5, 10 and 20 s at 60, 25 and 15 %."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Say nothing of the SLO, to a server that knows none.")
    ] = False,
    usd_per_hour: Annotated[
        float | None,
        typer.Option(min=0, help="Price of the machines; else what /v1/models says, one of each."),
    ] = None,
    attainment: Annotated[
        float | None, typer.Option(min=0, max=1, help="Fail when fewer replies are in time.")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="Write a line of JSON for each request to this file.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """Attainment, goodput, percentiles and cost of a running server under a load.

    \b
    --rate R: one request every 1/R seconds, whatever became of the others (an open loop).
    --trace FILE: arrivals and lengths of a trace, at its own mean rate or at --rate.
    --users N: each waits for the reply before asking again (a closed loop); lengths of --trace.
    Times count from when a request was due, so a slow server cannot hide behind a waiting caller.
    Exit code 0: nothing failed. 1: a 5xx, no answer, too low an attainment, or it did not run.
    """
    asked = Load(url.rstrip("/"), rate, users, trace, scale, pace_s, seconds, model, slo_ms,
                 plain)  # fmt: skip
    conclude(lambda console: _measure(asked, usd_per_hour, attainment, records, console), json)


def _measure(
    asked: Load,
    usd_per_hour: float | None,
    attainment: float | None,
    path: Path | None,
    console: Console,
) -> dict[str, Any]:
    """Offers the load, shows the report and returns it as a document."""
    if asked.users is not None and asked.rate_per_s is not None:
        raise ValueError("--users and --rate: a closed loop has no rate; give one of the two")
    if asked.users is None and asked.rate_per_s is None and asked.trace is None:
        raise ValueError("Give --rate, --users or --trace.")
    machine = describe_machine()
    cards = _cards(asked.url)
    with console.status(f"{asked.text}, {asked.seconds:g} s"):
        taken = open_loop(asked) if asked.users is None else _closed_loop(asked)
    if path is not None:
        write_records(path, taken)
    quality = {card["id"]: card["quality"]["default"] for card in cards if card.get("quality")}
    figures = scores(taken, duration_s=_offered_s(asked, taken), quality=quality)
    if usd_per_hour is None:
        # An adapter costs nothing beside the tier that it belongs to.
        owned = (card for card in cards if "parent" not in card)
        usd_per_hour = sum(card.get("usd_per_hour") or 0.0 for card in owned)
    judged = report.verdicts(figures, attainment, is_open=asked.users is None)
    document = report.as_document(
        figures, judged, usd_per_hour=usd_per_hour, machine=machine, load=asked.text
    )
    report.show(judged, document, console)
    return document


def _offered_s(asked: Load, taken: Sequence[Record]) -> float:
    """How long requests were offered: a trace may end before the time is over."""
    if asked.users is not None or len(taken) < 2:
        return asked.seconds
    last_s = max(record.at_s for record in taken)
    return min(asked.seconds, last_s * len(taken) / (len(taken) - 1))


def _closed_loop(asked: Load) -> list[Record]:
    assert asked.users is not None
    users = Users(
        asked.users, asked.pace_s, asked.seconds, asked.model, asked.trace, asked.scale,
        asked.slo_ms, asked.is_plain,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
        return closed_loop(users, asked.url, Path(folder))


def _cards(url: str) -> list[dict[str, Any]]:
    """What the server says of its models.

    Raises:
        LoadFailed: nobody answers there.
    """
    try:
        answer = httpx.get(f"{url}/v1/models", timeout=10.0)
        return list(answer.json()["data"]) if answer.status_code == 200 else []
    except httpx.HTTPError as err:
        raise LoadFailed(f"--url {url}: {type(err).__name__} {err}; is it running?") from err
    except (ValueError, KeyError, TypeError):
        # Some servers have no such page, or another one.
        return []
