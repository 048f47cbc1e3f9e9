"""The report of `tandem bench peers`: rows in, a document and a table out; peers' wins first."""

import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from serve_app.bench.comparison.figures import COLUMNS, Measure, Row, Spread, winners


def as_document(rows: Sequence[Row], ours: str, **about: Any) -> dict[str, Any]:
    """Everything, as JSON takes it; `about`: machine, versions, settings."""
    return {
        "object": "tandem.bench.peers",
        **about,
        "lost": lost(rows, ours),
        "contenders": {row.contender.key: _document(row) for row in rows},
    }


def lost(rows: Sequence[Row], ours: str) -> list[str]:
    """A sentence for each measure that somebody else is best at."""
    own = next(row for row in rows if row.contender.key == ours)
    return [
        f"{best.contender.name} is ahead in {measure.title}: "
        f"{_number(best.by_measure[measure.key].median, measure)} against "
        f"{_number(own.by_measure[measure.key].median, measure)}"
        for measure in COLUMNS
        if (best := winners(rows)[measure.key]) is not own
        and best.by_measure[measure.key].median != own.by_measure[measure.key].median
    ]


def show(rows: Sequence[Row], document: dict[str, Any], console: Console) -> None:
    """Where we lose, the table, then what has to be known to read it."""
    for sentence in document["lost"]:
        console.print(f"[yellow]{sentence}.[/]")
    console.print(_table(rows))
    for row in rows:
        console.print(f"{row.contender.key}: {row.contender.name}", highlight=False)
    settings, machine = document["settings"], document["machine"]
    console.print(
        f"Median, least and most of {settings['rounds']} rounds. {settings['requests']} requests "
        f"in each, {settings['rate_per_s']:g}/s, prompts and replies {settings['scale']:g} times "
        f"as long as in {settings['trace']}. Overhead: one token on the cheapest tier, idle, less "
        "the same on bare vLLM."
    )
    console.print(
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores, load average "
        f"{machine['load_average_1m']} at the start"
    )
    console.print(", ".join(f"{name} {version}" for name, version in document["versions"].items()))


def _table(rows: Sequence[Row]) -> Table:
    """A column for each contender: five fit a terminal of 80 characters."""
    table = Table(title="The same requests to each", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_column(row.contender.key, justify="right")
    for measure in COLUMNS:
        table.add_row(measure.title, *(_cell(row.by_measure[measure.key], measure) for row in rows))
    table.add_row("failures", *(str(row.failures) for row in rows))
    return table


def _cell(spread: Spread, measure: Measure) -> str:
    median = _number(spread.median, measure)
    if spread.least == spread.most:
        return median
    return f"{median}\n{_number(spread.least, measure)}\n{_number(spread.most, measure)}"


def _number(value: float, measure: Measure) -> str:
    return f"{value:.{measure.digits}f}" if math.isfinite(value) else "never"


def _document(row: Row) -> dict[str, Any]:
    spreads = {
        key: {
            "median": _plain(spread.median), "least": _plain(spread.least),
            "most": _plain(spread.most),
        }
        for key, spread in row.by_measure.items()
    }  # fmt: skip
    turns = [turn.as_document() for turn in row.turns]
    return {"name": row.contender.name, **spreads, "failures": row.failures, "rounds": turns}


def _plain(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
