"""The report of `tandem bench overload`: an Outcome in, verdicts, a document and tables out."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.bench.overhead.measures import quantile
from serve_app.bench.overload.callers import Try
from serve_app.bench.overload.phases import OVERLOAD, Outcome, Phase
from serve_app.bench.overload.scenario import SLO_S
from serve_app.bench.targets import Target, Verdict, table_of

_SLICE_S = 5.0
_GOODPUT = Target(f"goodput at {OVERLOAD:g}x, share of the peak", low=0.90)
_IN_TIME = Target("admitted requests in time", low=0.95)
_RETURNED = Target("refused callers served when they came back as told", low=0.90)
_FAILURES = Target("5xx or no answer", high=0.0)
_HEALTH = Target("slowest answer of /livez and /readyz", "ms", high=1000.0)
_REFUSAL_P50, _REFUSAL_P99 = (Target(f"time of a refusal, {p}", "ms") for p in ("p50", "p99"))
_LATENESS = Target("load tool's own lateness, p99", "ms", high=50.0)


def verdicts(outcome: Outcome) -> list[Verdict]:
    """What is asked of the overload, and what came."""
    overload = outcome.overload
    tries = [t for call in overload.calls for t in call.tries]
    admitted = [t for t in tries if t.is_served]
    told = [call for call in overload.calls if call.first.status == 429]
    refusals_ms = [t.took_s * 1e3 for t in tries if t.status == 429]
    health_ms = [t.took_s * 1e3 for t in outcome.health]
    lateness_ms = [call.lateness_s * 1e3 for call in overload.calls]
    failures = [t for t in (*tries, *outcome.health) if t.is_failure]
    return [
        _GOODPUT.judged(overload.goodput_per_s / outcome.peak.goodput_per_s),
        _IN_TIME.judged(_share([t.is_in_time for t in admitted])),
        _RETURNED.judged(_share([call.is_served_on_return for call in told])),
        _FAILURES.judged(len(failures)),
        _HEALTH.judged(max(health_ms, default=math.nan)),
        _REFUSAL_P50.judged(_quantile(refusals_ms, 0.5)),
        _REFUSAL_P99.judged(_quantile(refusals_ms, 0.99)),
        _LATENESS.judged(_quantile(lateness_ms, 0.99), "the machine was busy, measure again"),
    ]


def as_document(
    outcome: Outcome, judged: Sequence[Verdict], machine: dict[str, Any], versions: dict[str, str]
) -> dict[str, Any]:
    """Everything, as JSON takes it."""
    overload = outcome.overload
    return {
        "object": "tandem.bench.overload",
        "machine": machine,
        "versions": versions,
        "slo_s": SLO_S,
        "ladder": [_as_row(phase) for phase in outcome.ladder],
        "peak_goodput_per_s": round(outcome.peak.goodput_per_s, 3),
        "overload": _as_row(overload),
        "slices": [_as_slice(overload, at_s) for at_s in _slices(overload)],
        "cpu_share": round(outcome.cpu_share, 3),
        "router_state": outcome.router_state,
        "targets": [verdict.as_document() for verdict in judged],
        "is_met": all(verdict.is_met for verdict in judged),
    }


def show(judged: Sequence[Verdict], document: dict[str, Any], console: Console) -> None:
    """The ladder, the verdicts, then what has to be known to read them."""
    console.print(_rates([*document["ladder"], document["overload"]]))
    console.print(table_of(f"At {OVERLOAD:g}x the peak", judged))
    machine, overload = document["machine"], document["overload"]
    console.print(
        f"Admissions stated a probability of {_text(overload['stated'])} in the mean, "
        f"{_text(overload['in_time'])} came true. The machine was {document['cpu_share']:.0%} busy."
    )
    console.print(
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores, load average "
        f"{machine['load_average_1m']} at the start; ray {document['versions'].get('ray')}"
    )
    console.print(
        "".join(f"[yellow]{v.target.name}: {v.why}.[/]\n" for v in judged if v.why), end=""
    )


def _as_row(phase: Phase) -> dict[str, Any]:
    tries = [t for call in phase.calls for t in call.tries]
    return {
        "offered_per_s": round(phase.rate_per_s, 2),
        "duration_s": phase.duration_s,
        "goodput_per_s": round(phase.goodput_per_s, 3),
        "callers": len(phase.calls),
        **_counts(tries),
    }


def _as_slice(phase: Phase, at_s: float) -> dict[str, Any]:
    """What became of the tries that were sent within some seconds."""
    tries = [
        t for call in phase.calls for t in call.tries if at_s <= t.at_s < at_s + _SLICE_S
    ]  # fmt: skip
    return {"at_s": at_s, **_counts(tries)}


def _counts(tries: Sequence[Try]) -> dict[str, Any]:
    admitted = [t for t in tries if t.is_served]
    stated = [t.stated for t in admitted if t.stated is not None]
    return {
        "tries": len(tries),
        "admitted": len(admitted),
        "in_time": _rounded([t.is_in_time for t in admitted]),
        "stated": _rounded(stated),
        "refused": sum(t.status == 429 for t in tries),
        "infeasible": sum(t.status == 422 for t in tries),
    }


def _slices(phase: Phase) -> list[float]:
    last_s = max((t.at_s for call in phase.calls for t in call.tries), default=0.0)
    return [index * _SLICE_S for index in range(int(last_s / _SLICE_S) + 1)]


def _rates(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=f"Goodput: replies within {SLO_S:g} s", title_justify="left")
    for name in ("offered/s", "goodput/s", "tries", "admitted", "in time", "refused"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row['offered_per_s']:.1f}", f"{row['goodput_per_s']:.2f}", str(row["tries"]),
            str(row["admitted"]), _text(row["in_time"]), str(row["refused"]),
        )  # fmt: skip
    return table


def _share(values: Sequence[float]) -> float:
    """The mean; NaN of nothing, which meets no target."""
    return sum(values) / len(values) if values else math.nan


def _rounded(values: Sequence[float]) -> float | None:
    """The mean as JSON takes it."""
    return round(_share(values), 4) if values else None


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _quantile(values: Sequence[float], share: float) -> float:
    return quantile(values, share) if values else math.nan
