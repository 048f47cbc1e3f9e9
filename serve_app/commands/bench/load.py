"""`tandem bench load`: a load on a running server, scored by each request's SLO."""

import asyncio
import json as json_format
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer
from rich.console import Console

from serve_app.bench.client import Address, post
from serve_app.bench.load import LoadFailed
from serve_app.bench.machine import describe_machine
from serve_app.bench.traffic import report
from serve_app.bench.traffic.open_loop import Target, offer
from serve_app.bench.traffic.records import Record, write_records
from serve_app.bench.traffic.scores import scores
from serve_app.bench.traffic.source import Source
from serve_app.bench.traffic.workload import ROUTED, Asked, body
from serve_app.bench.users.run import Users, closed_loop

_CHAT = "/v1/chat/completions"


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
    console = Console(highlight=False, soft_wrap=True)
    try:
        asked = Load(url.rstrip("/"), rate, users, trace, scale, pace_s, seconds, model, slo_ms,
                     plain)  # fmt: skip
        document = _measure(asked, usd_per_hour, attainment, records, console)
    except (LoadFailed, ValueError, OSError) as err:
        console.print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err
    if json is not None:
        json.write_text(json_format.dumps(document, indent=2) + "\n")
    if not document["is_met"]:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Load:
    """What was asked for on the command line."""

    url: str
    rate_per_s: float | None
    users: int | None
    trace: Path | None
    scale: float
    pace_s: float
    seconds: float
    model: str
    slo_ms: float | None
    is_plain: bool

    @property
    def address(self) -> Address:
        """
        Raises:
            ValueError: the address is none.
        """
        parts = urlsplit(self.url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"--url {self.url!r}: an address like http://127.0.0.1:8000 is needed")
        return Address(parts.hostname, parts.port or 80)

    @property
    def text(self) -> str:
        lengths = f", lengths of {self.trace.name} times {self.scale:g}" if self.trace else ""
        if self.users is not None:
            every = f" every {self.pace_s:g} s" if self.pace_s else " again at once"
            return f"{self.users} users who each ask{every}{lengths}"
        if self.trace is not None and self.rate_per_s is None:
            return f"{self.trace.name} as it came{lengths}"
        spacing = "in the bursts of the trace" if self.trace else "evenly spaced"
        return f"{self.rate_per_s:g} requests/s {spacing}{lengths}"


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
    address, machine = asked.address, describe_machine()
    cards = _cards(asked.url)
    with console.status(f"{asked.text}, {asked.seconds:g} s"):
        taken = _open_loop(asked, address) if asked.users is None else _closed_loop(asked)
    if path is not None:
        write_records(path, taken)
    quality = {card["id"]: card["quality"] for card in cards if card.get("quality")}
    figures = scores(taken, duration_s=asked.seconds, quality=quality)
    if usd_per_hour is None:
        usd_per_hour = sum(card.get("usd_per_hour") or 0.0 for card in cards)
    judged = report.verdicts(figures, attainment, is_open=asked.users is None)
    document = report.as_document(
        figures, judged, usd_per_hour=usd_per_hour, machine=machine, load=asked.text
    )
    report.show(judged, document, console)
    return document


def _open_loop(asked: Load, address: Address) -> list[Record]:
    source = Source.of(asked.trace, asked.scale, asked.slo_ms)
    rate = asked.rate_per_s if asked.rate_per_s is not None else source.rate_per_s
    plan = source.constant if asked.trace is None else source.replayed
    requests = plan(rate_per_s=rate, duration_s=asked.seconds)
    slo = None if asked.is_plain else ROUTED
    salt = str(describe_machine()["date"])

    def request(one: Asked) -> bytes:
        return post(address, _CHAT, body(one, model=asked.model, salt=salt, slo=slo))

    taken: list[Record] = []
    asyncio.run(offer(Target(address, request), requests, taken.append))
    return taken


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
