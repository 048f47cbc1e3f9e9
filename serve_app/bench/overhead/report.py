"""The report of `tandem bench overhead`: outcomes in, a document and tables out."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.bench.overhead.measures import Comparison, Summary
from serve_app.bench.overhead.turns import Outcome

# Where the reference's own two turns lie further apart, a ratio says little.
_NOTABLE_DRIFT = 0.10


def as_document(
    outcomes: Sequence[Outcome],
    machine: dict[str, Any],
    versions: dict[str, str],
    ceiling_requests_per_s: float,
) -> dict[str, Any]:
    """Everything, as JSON takes it."""
    return {
        "object": "tandem.bench.overhead",
        "machine": machine,
        "versions": versions,
        "load_tool_ceiling_requests_per_s": round(ceiling_requests_per_s, 1),
        "parts": [
            {
                "name": outcome.name,
                "tandem": outcome.tandem,
                "reference": outcome.reference,
                "measures": [_measure(comparison) for comparison in outcome.comparisons],
            }
            for outcome in outcomes
        ],
        "is_met": all(outcome.is_met for outcome in outcomes),
    }


def show(outcomes: Sequence[Outcome], document: dict[str, Any], console: Console) -> None:
    """One table per part, then what has to be known to read it."""
    for outcome in outcomes:
        console.print(_table(outcome))
    machine, versions = document["machine"], document["versions"]
    console.print(
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, load average {machine['load_average_1m']} at the start"
    )
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()))
    console.print(
        "The load tool alone: "
        f"{document['load_tool_ceiling_requests_per_s']:.0f} req/s from an instant backend."
    )
    for comparison in (c for outcome in outcomes for c in outcome.comparisons):
        if comparison.drift > _NOTABLE_DRIFT:
            console.print(
                f"[yellow]{comparison.measure.title}: the reference's two turns differ by "
                f"{comparison.drift:.0%}; this machine was not quiet, measure again.[/]"
            )


def _table(outcome: Outcome) -> Table:
    table = Table(title=f"{outcome.tandem} against {outcome.reference}", title_justify="left")
    table.add_column("measure")
    for name in ("Tandem", "reference", "ratio"):
        table.add_column(name, justify="right")
    table.add_column("target")
    table.add_column("verdict")
    for comparison in outcome.comparisons:
        table.add_row(*_row(comparison))
    return table


def _row(comparison: Comparison) -> tuple[str, ...]:
    unit = comparison.measure.unit
    targets = ", ".join(target.text(unit) for target in comparison.measure.targets)
    return (
        comparison.measure.title,
        f"{comparison.tandem.median:.1f} {unit}",
        f"{comparison.reference.median:.1f} {unit}",
        f"{comparison.ratio:.2f}x",
        targets or "-",
        _verdict(comparison),
    )


def _verdict(comparison: Comparison) -> str:
    if not comparison.measure.targets:
        return "-"
    return "[green]met[/]" if comparison.is_met else "[red]missed[/]"


def _measure(comparison: Comparison) -> dict[str, Any]:
    measure = comparison.measure
    return {
        "key": measure.key,
        "title": measure.title,
        "unit": measure.unit,
        "tandem": _summary(comparison.tandem),
        "reference": _summary(comparison.reference),
        "reference_turns": [_summary(turn) for turn in comparison.reference_turns],
        "drift": round(comparison.drift, 4),
        "ratio": round(comparison.ratio, 4),
        "targets": [
            {"target": target.text(measure.unit), "is_met": is_met}
            for target, is_met in comparison.verdicts
        ],
        "is_met": comparison.is_met,
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {name: round(value, 3) for name, value in asdict(summary).items()}
