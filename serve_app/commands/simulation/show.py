"""What `tandem simulate` says: on the screen, as a document, in files. Comparisons in."""

from pathlib import Path
from typing import Any

from rich.console import Console

from serve_app.bench.machine import describe_machine, versions
from serve_app.simulator.experiment.compare import Comparison
from serve_app.simulator.experiment.sweep import LABELS, Axis
from serve_app.simulator.fleet.setting import Setting
from serve_app.simulator.policies.catalogue import OURS
from serve_app.simulator.report import plots
from serve_app.simulator.report.document import of_comparison, write_rows
from serve_app.simulator.report.table import table_of

Compared = list[tuple[float, Comparison]]
"""Each value of what is varied, and what came of it; one without a sweep."""


def as_document(
    comparisons: Compared, config: Path, setting: Setting, source: dict[str, Any]
) -> dict[str, Any]:
    said = [of_comparison(comparison, ours=OURS) for _, comparison in comparisons]
    sweep = [{"value": value, **one} for (value, _), one in zip(comparisons, said, strict=True)]
    return {
        "object": "tandem.simulate",
        "machine": describe_machine(),
        "versions": versions(["scikit-learn"]),
        "config": config.name,
        "classes": {one.name: one.slo.e2e_ms for one in setting.classes},
        "tiers": {
            tier.tier: {"replicas": tier.replicas, "usd_per_hour": tier.usd_per_hour}
            for tier in setting.tiers
        },
        **source,
        **said[0],
        "sweep": sweep if len(sweep) > 1 else [],
    }


def show(document: dict[str, Any], console: Console) -> None:
    for one in document["sweep"] or [document]:
        value = f", at {one['value']:g}" if "value" in one else ""
        load = "as it came" if one["load"] is None else f"load {one['load']:g}"
        title = f"{document['config']}{value}, {load}: {one['rate_per_s']:.3g} requests/s"
        console.print(table_of(one, title))
    left_out = document.get("trace", {}).get("left_out", 0)
    if left_out:
        console.print(f"{left_out} requests of the trace fit no context window and are left out.")
    if "decisions" in document:
        recorded = document["decisions"]["recorded"]
        console.print(
            f"The server itself: {recorded['attainment']:.3f} in time, "
            f"{recorded['quality_goodput']:.4g} quality x replies in time per second."
        )


def write(
    out: Path,
    comparisons: Compared,
    document: dict[str, Any],
    sweep: Axis | None,
    is_plotted: bool,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    name = "load" if sweep is None else sweep.value
    write_rows(out / "runs.csv", [(f"{name}={value:g}", one) for value, one in comparisons])
    if not is_plotted:
        return
    source = document["trace"]["file"] if "trace" in document else document["decisions"]["from"]
    title = f"{document['config']} on {source}, simulated"
    plots.bars(out / "policies.svg", document, title)
    # A line needs two points.
    if sweep is not None and document["sweep"]:
        plots.lines(out / f"sweep_{sweep.value}.svg", document["sweep"], LABELS[sweep], title)
