"""`tandem bench autoscaling`: ways to scale, on a day and on bursts, in simulated time."""

import json as json_format
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from serve_app.bench.autoscaling.compare import SHAPES, Plan, compare, dominated_by
from serve_app.bench.autoscaling.run import NAMES, ROUTER_SIGNAL, Ground
from serve_app.bench.machine import describe_machine, versions
from serve_app.check.tier.capacity import accelerators_per_replica
from serve_app.commands.progress import progress
from serve_app.commands.serve_file import our_applications, read_serve_file
from serve_app.commands.simulation.fleet import Wishes, setting_of
from serve_app.config import AppConfig, ScalingConfig
from serve_app.simulator.experiment.workload import split
from serve_app.simulator.fleet.plans import Scaling
from serve_app.simulator.trace import read_trace

_RAY_TARGET = 2.0


def autoscaling(
    config: Annotated[Path, typer.Option(help="Serve file whose tiers are simulated.")],
    trace: Annotated[Path, typer.Option(help="CSV whose prompt and reply lengths are drawn.")],
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
    slo_class: Annotated[
        list[str] | None, typer.Option(help="Class that callers ask for. Default: the file's.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Requests per second in the mean.")] = 2.0,
    minutes: Annotated[float, typer.Option(min=5, help="Length of each run.")] = 120.0,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, with other draws.")] = 1,
    most: Annotated[int, typer.Option(min=1, help="Most replicas of each tier.")] = 8,
    cold_start_s: Annotated[float, typer.Option(min=0, help="From order to serving.")] = 60.0,
    downscale_delay_s: Annotated[float, typer.Option(min=0, help="As in the file.")] = 120.0,
    ttft_s: Annotated[float, typer.Option(min=0.01, help="Target of `ttft-target`.")] = 1.0,
    target_fill: Annotated[
        float | None, typer.Option(min=0.1, max=1, help="Of router-signal. Default: the file's.")
    ] = None,
) -> None:
    """How many replies are in time, and what that takes, when replicas come and go.

    \b
    router-signal is Tandem's own (the server's objects); router-signal-to-zero lets the best tier
    have none; ongoing-requests is Ray Serve's with the file's targets, ongoing-requests-2 with its
    default; ttft-target adds a replica while the 95th percentile of TTFT is above --ttft-s.
    Exit code 0: no other way is better at everything. 1: one is, or an option is wrong.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        app = _app(config)
        bounds = Scaling(1, most, _RAY_TARGET, 10.0, downscale_delay_s, cold_start_s)
        fill = app.scaling.target_fill if target_fill is None else target_fill
        scaling = app.scaling.model_copy(update={"target_fill": fill})
        ground = _ground(app, slo_class or [], bounds, ttft_s, scaling)
        lengths = split(read_trace(trace), ground.setting.context_tokens).scored
        plan = Plan(rate, 60 * minutes, tuple(range(1, seeds + 1)))
        with progress(console, len(SHAPES) * len(NAMES)) as say:
            found = compare(ground, lengths, plan, say)
    except (ValueError, OSError) as err:
        console.print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err
    better = {shape: dominated_by(ways) for shape, ways in found.items()}
    document = {
        "object": "tandem.bench.autoscaling",
        "machine": describe_machine(),
        "versions": versions([]),
        "config": config.name,
        "lengths_of": trace.name,
        "rate_per_s": rate, "minutes": minutes, "seeds": seeds, "most_replicas": most,
        "cold_start_s": cold_start_s, "downscale_delay_s": downscale_delay_s, "ttft_s": ttft_s,
        "target_fill": fill,
        "traffic": found,
        "better_at_everything": better,
        "is_met": not any(better.values()),
    }  # fmt: skip
    _show(document, console)
    if json is not None:
        json.write_text(json_format.dumps(document, indent=2) + "\n")
    if not document["is_met"]:
        raise typer.Exit(1)


def _app(config: Path) -> AppConfig:
    applications = our_applications(read_serve_file(config).content)
    if not applications:
        raise ValueError(f"{str(config)!r} holds no application of Tandem.")
    return AppConfig.model_validate(applications[0].get("args"))


def _ground(
    app: AppConfig, class_names: list[str], bounds: Scaling, ttft_s: float, scaling: ScalingConfig
) -> Ground:
    setting = setting_of(app, Wishes(class_names))
    setting = replace(setting, tiers=tuple(replace(t, replicas=1) for t in setting.tiers))
    told: dict[str, Any] = {
        spec.model_id: spec.deployment_config.get("autoscaling_config") for spec in app.llm_configs
    }
    targets = {
        tier: float((bounds_told or {}).get("target_ongoing_requests", _RAY_TARGET))
        for tier, bounds_told in told.items()
    }
    accelerators = {spec.model_id: accelerators_per_replica(spec) for spec in app.llm_configs}
    return Ground(setting, dict.fromkeys(told, bounds), targets, accelerators, ttft_s, scaling)


def _show(document: dict[str, Any], console: Console) -> None:
    for shape, ways in document["traffic"].items():
        title = f"{shape}: {document['rate_per_s']:g} requests/s, {document['minutes']:g} minutes"
        table = Table(title=title)
        for heading in ("way to scale", "in time", "best tier", "quality/s", "GPU-hours", "most"):
            table.add_column(heading, justify="left" if heading == "way to scale" else "right")
        for name, way in ways.items():
            table.add_row(
                name,
                f"{way['attainment']:.3f}",
                f"{way['best_tier_share']:.3f}",
                f"{way['quality_goodput']:.4g}",
                f"{way['accelerator_hours']:.2f}",
                f"{way['most_accelerators']:.0f}",
            )
        console.print(table)
        for other in document["better_at_everything"][shape]:
            console.print(f"{other} is better than {ROUTER_SIGNAL} at everything.", style="red")
