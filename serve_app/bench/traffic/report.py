"""The report of `tandem bench load`: scores in, verdicts, a document and tables out."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.bench.targets import Target, Verdict, table_of
from serve_app.bench.traffic.scores import Scores, usd_per_1k_tokens

_FAILURES = Target("5xx or no answer", high=0.0)
_LATENESS = Target("load tool's own lateness, p99", "ms", high=50.0)


def verdicts(figures: Scores, attainment: float | None, *, is_open: bool) -> list[Verdict]:
    """
    Args:
        attainment: the least that is asked for.
        is_open: whether requests had a time to be sent at; in a closed loop the server's own
            slowness makes them late.
    """
    judged = [
        Target("replies in time", low=attainment).judged(figures.attainment),
        _FAILURES.judged(figures.failures),
    ]
    if is_open:
        why = "the machine was busy, measure again"
        judged.append(_LATENESS.judged(figures.p99_late_s * 1e3, why))
    return judged


def as_document(
    figures: Scores, judged: Sequence[Verdict], *, usd_per_hour: float, **about: Any
) -> dict[str, Any]:
    """Everything, as JSON takes it; `about`: machine and load."""
    cost = usd_per_1k_tokens(
        usd_per_hour,
        tokens=figures.prompt_tokens + figures.output_tokens,
        duration_s=figures.busy_s,
    )
    return {
        "object": "tandem.bench.load",
        **about,
        **figures.as_document(),
        "usd_per_hour": usd_per_hour,
        "usd_per_1k_tokens": round(cost, 8) if math.isfinite(cost) else None,
        "targets": [verdict.as_document() for verdict in judged],
        "is_met": all(verdict.is_met for verdict in judged),
    }


def show(judged: Sequence[Verdict], document: dict[str, Any], console: Console) -> None:
    """Verdicts, figures, then what has to be known to read them."""
    console.print(table_of(document["load"], judged))
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, text in _figures(document):
        table.add_row(name, text)
    console.print(table)
    machine = document["machine"]
    console.print(
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores, load average "
        f"{machine['load_average_1m']} at the start. Times count from when a request was due."
    )


def _figures(document: dict[str, Any]) -> list[tuple[str, str]]:
    def seconds(key: str) -> str:
        value = document[key]
        return "never" if value is None else f"{value:.2f} s"

    cost = document["usd_per_1k_tokens"]
    return [
        ("requests", f"{document['offered']}, {_counts(document['statuses'])}"),
        ("goodput", f"{document['goodput_per_s']:.2f} /s"),
        ("quality-weighted goodput", f"{document['quality_goodput_per_s']:.2f} /s"),
        ("P50, P90, P99 of the whole reply",
         ", ".join(seconds(f"p{share}_e2e_s") for share in (50, 90, 99))),
        ("tokens processed", f"{document['tokens_per_s']:.0f} /s"),
        ("answered by", _counts(document["shares"])),
        ("cost of 1K tokens at " + f"${document['usd_per_hour']:g} an hour",
         "-" if cost is None else f"${cost:.6f}"),
    ]  # fmt: skip


def _counts(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value:g}" for name, value in values.items()) or "-"
