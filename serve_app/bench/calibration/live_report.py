"""The report of `tandem bench calibration --live`: answers in, a document and tables out."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.bench.calibration.live import Answered
from serve_app.bench.calibration.plots import Series
from serve_app.bench.calibration.scores import median_error
from serve_app.bench.overhead.measures import quantile
from serve_app.bench.targets import Target, Verdict, table_of

_ERROR = Target("median error of the predicted time", high=0.15)
_COVERAGE = Target("coverage of the 95 % bound", low=0.92, high=0.98)


def figures(answered: Sequence[Answered]) -> dict[str, Any]:
    """Errors and coverage of some replies, as JSON takes them."""
    error = median_error((one.predicted_s, one.e2e_s) for one in answered)
    return {
        "num_scored": len(answered),
        "median_abs_rel_error": round(error, 4),
        "coverage": round(statistics.fmean(one.is_covered for one in answered), 4),
        "share_within_median": round(
            statistics.fmean(one.e2e_s <= one.p50_s for one in answered), 4
        ),
        "median_e2e_s": round(statistics.median(one.e2e_s for one in answered), 4),
        "coverage_for_callers": round(
            statistics.fmean(one.is_covered_for_caller for one in answered), 4
        ),
        "outside_p95_s": round(quantile([one.outside_s for one in answered], 0.95), 4),
    }


def verdicts(answered: Sequence[Answered]) -> list[Verdict]:
    """What is asked of all replies together."""
    overall = figures(answered)
    low = overall["coverage"] < 0.95
    return [
        _ERROR.judged(
            overall["median_abs_rel_error"],
            "the table shows at which load; a machine that does other work meanwhile is slower "
            "than it was when its speed was learned.",
        ),
        _COVERAGE.judged(overall["coverage"], f"the bounds are too {'narrow' if low else 'wide'}."),
    ]


def as_document(answered: Sequence[Answered], **facts: Any) -> dict[str, Any]:
    """Everything, as JSON takes it."""
    judged = verdicts(answered)
    return {
        "object": "tandem.bench.calibration.live",
        **facts,
        **figures(answered),
        "by_concurrency": {str(key): figures(part) for key, part in by_concurrency(answered)},
        "by_tier": {
            tier: figures([one for one in answered if one.tier == tier])
            for tier in sorted({one.tier for one in answered})
        },
        "targets": [verdict.as_document() for verdict in judged],
        "is_met": all(verdict.is_met for verdict in judged),
    }


def by_concurrency(answered: Sequence[Answered]) -> list[tuple[int, list[Answered]]]:
    """The replies at each load, lightest first."""
    loads = sorted({one.concurrency for one in answered})
    return [(load, [one for one in answered if one.concurrency == load]) for load in loads]


def show(answered: Sequence[Answered], document: Mapping[str, Any], console: Console) -> None:
    """One row per load and per tier, then the targets.

    Beside what was forecast stands what callers saw: on a machine whose processes wait for one
    another, they get less than Tandem could promise.
    """
    table = Table(title="Forecasts of a running Tandem", title_justify="left")
    for name in ("replies", "number", "median", "error", "within p95", "for callers", "way, p95"):
        table.add_column(name, justify="left" if name == "replies" else "right")
    rows = {"all": document}
    rows |= {f"{key} at once": part for key, part in document["by_concurrency"].items()}
    rows |= {key: part for key, part in document["by_tier"].items()}
    for name, part in rows.items():
        table.add_row(
            name, str(part["num_scored"]), f"{part['median_e2e_s']:.2f} s",
            f"{part['median_abs_rel_error']:.1%}", f"{part['coverage']:.3f}",
            f"{part['coverage_for_callers']:.3f}", f"{part['outside_p95_s']:.2f} s",
        )  # fmt: skip
    console.print(table)
    console.print(
        "By Tandem's clock, from a request's arrival to its last byte. For callers: the same bound "
        "with the way there and back."
    )
    judged = verdicts(answered)
    console.print(table_of("Targets", judged))
    for verdict in judged:
        if not verdict.is_met:
            console.print(f"[red]missed[/] {verdict.target.name}: {verdict.why}")
    machine = document["machine"]
    console.print(f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores")


def series(answered: Sequence[Answered]) -> list[Series]:
    """The replies in order, with a mark where the load changes; only two levels are stated."""
    whole = figures(answered)
    marks: dict[int, str] = {}
    begun = 0
    for load, part in by_concurrency(answered):
        marks[begun] = f"{load} at once"
        begun += len(part)
    return [
        Series(
            name="replies",
            reliability=[(0.5, whole["share_within_median"]), (0.95, whole["coverage"])],
            is_covered=[one.is_covered for one in answered],
            predicted_s=[one.predicted_s for one in answered],
            actual_s=[one.e2e_s for one in answered],
            marks=marks,
        )
    ]
