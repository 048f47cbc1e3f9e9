"""The report of `tandem bench soak`: what was seen in, verdicts, a document and tables out."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.bench.overhead.measures import quantile
from serve_app.bench.soak.growth import NUM_WINDOWS, WARM_UP_SHARE, Growth
from serve_app.bench.soak.run import Soaked
from serve_app.bench.targets import Target, Verdict, table_of
from serve_app.bench.traffic.scores import scores

_FAILURES = Target("5xx or no answer", high=0.0)
_MEMORY = Target("steepest memory growth of a process", "MB/h", high=25.0)
_ALL_MEMORY = Target("memory growth of all processes together", "MB/h", high=60.0)
_DESCRIPTORS = Target("most file descriptors that a process gained", high=10.0)
_P90 = Target("slowest P90 of a twelfth, against the median one", "x", high=1.5)
_REPLACED = Target("processes that ended meanwhile", high=0.0)
_LATENESS = Target("load tool's own lateness, p99", "ms", high=50.0)


def p90_by_window(soaked: Soaked) -> list[float]:
    """P90 of the whole reply in seconds, by when the request was due; infinite without replies."""
    width_s = soaked.duration_s / NUM_WINDOWS
    windows: list[list[float]] = [[] for _ in range(NUM_WINDOWS)]
    for record in soaked.records:
        if record.is_served:
            windows[min(NUM_WINDOWS - 1, int(record.at_s / width_s))].append(record.e2e_s)
    return [quantile(window, 0.9) if window else math.inf for window in windows]


def verdicts(soaked: Soaked, grown: Sequence[Growth]) -> list[Verdict]:
    """What is asked of a long run, and what came."""
    p90_s = p90_by_window(soaked)
    lateness_ms = [record.late_s * 1e3 for record in soaked.records]
    steepest = max(grown, key=lambda one: one.mb_per_hour, default=None)
    return [
        _FAILURES.judged(sum(record.is_failure for record in soaked.records)),
        _MEMORY.judged(
            steepest.mb_per_hour if steepest else math.nan, steepest.name if steepest else ""
        ),
        _ALL_MEMORY.judged(sum(one.mb_per_hour for one in grown) if grown else math.nan),
        _DESCRIPTORS.judged(
            max((one.descriptors[1] - one.descriptors[0] for one in grown), default=math.nan)
        ),
        _P90.judged(max(p90_s) / statistics.median(p90_s)),
        _REPLACED.judged(_ended(soaked)),
        _LATENESS.judged(quantile(lateness_ms, 0.99), "the machine was busy, measure again"),
    ]


def as_document(
    soaked: Soaked, grown: Sequence[Growth], judged: Sequence[Verdict], **about: Any
) -> dict[str, Any]:
    """Everything, as JSON takes it; `about`: machine, versions, and what was served."""
    figures = scores(soaked.records, duration_s=soaked.duration_s, quality={}).as_document()
    # Its tiers may be fakes: what they would earn says nothing.
    del figures["quality_goodput_per_s"]
    return {
        "object": "tandem.bench.soak",
        **about,
        **figures,
        "p90_e2e_s_by_twelfth": [
            round(value, 4) if math.isfinite(value) else None for value in p90_by_window(soaked)
        ],
        "cpu_share_of_one_core": round(sum(one.cpu_share for one in grown), 3),
        "processes": [
            {
                "name": one.name,
                "first_mb": round(one.first_mb, 1),
                "last_mb": round(one.last_mb, 1),
                "mb_per_hour": round(one.mb_per_hour, 2),
                "by_twelfth_mb": [round(value, 1) for value in one.by_twelfth_mb],
                "descriptors": list(one.descriptors),
                "cpu_share": round(one.cpu_share, 4),
            }
            for one in grown
        ],
        "targets": [verdict.as_document() for verdict in judged],
        "is_met": all(verdict.is_met for verdict in judged),
    }


def show(judged: Sequence[Verdict], document: dict[str, Any], console: Console) -> None:
    """Verdicts, processes, then what has to be known to read them."""
    minutes = document["duration_s"] / 60
    rate = document["offered"] / document["duration_s"]
    console.print(table_of(f"{rate:.4g} requests/s for {minutes:g} minutes", judged))
    console.print(_processes(document))
    by_twelfth = ", ".join(_seconds(value) for value in document["p90_e2e_s_by_twelfth"])
    console.print(f"P90 by twelfth of the time: {by_twelfth} s")
    machine = document["machine"]
    console.print(
        f"{document['offered']} requests, statuses {document['statuses']}; all processes together "
        f"took {document['cpu_share_of_one_core']:.0%} of one core"
    )
    console.print(
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores, load average "
        f"{machine['load_average_1m']} at the start; ray {document['versions'].get('ray')}"
    )


def _processes(document: dict[str, Any]) -> Table:
    table = Table(title="Processes", title_justify="left")
    table.add_column("process", overflow="fold")
    for column in ("memory", "growth", "descriptors", "CPU"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in document["processes"]:
        before, after = row["descriptors"]
        table.add_row(
            row["name"], f"{row['first_mb']:.0f} to {row['last_mb']:.0f} MB",
            f"{row['mb_per_hour']:+.1f} MB/h", f"{before:g} to {after:g}",
            f"{row['cpu_share']:.1%}",
        )  # fmt: skip
    return table


def _ended(soaked: Soaked) -> int:
    """Processes that were there once warm and were gone at the last look."""
    last_s = max((t.samples[-1].at_s for t in soaked.traces), default=0.0)
    warm_s = WARM_UP_SHARE * soaked.duration_s
    return sum(
        trace.samples[-1].at_s < last_s
        for trace in soaked.traces
        if any(sample.at_s >= warm_s for sample in trace.samples)
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
