"""`tandem simulate`: every way to choose a tier, on the same requests, without a GPU."""

import json as json_format
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from serve_app.commands.progress import progress
from serve_app.commands.simulation.fleet import Wishes, disturbed, setting_of_file
from serve_app.commands.simulation.options import failure, names_of, read_entries, values_of
from serve_app.commands.simulation.show import Compared, as_document, show, write
from serve_app.config import Objective
from serve_app.simulator.experiment.compare import compare, replay
from serve_app.simulator.experiment.sweep import Axis, along
from serve_app.simulator.experiment.traffic import Plan, Users, full_rate_per_s
from serve_app.simulator.experiment.workload import Parts, split
from serve_app.simulator.fleet.setting import Disturbances, Setting
from serve_app.simulator.policies import catalogue
from serve_app.simulator.replay.decisions import read_log
from serve_app.simulator.trace import read_trace

_DEFAULT_POLICIES = ",".join((*catalogue.BASELINES, catalogue.OURS))


def simulate(
    config: Annotated[Path, typer.Option(help="Serve file whose tiers are simulated.")],
    trace: Annotated[
        Path | None, typer.Option(help="CSV with arrived_at_s, prompt_tokens and output_tokens.")
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="Instead of a trace: a server's decision log, folder or file."),
    ] = None,
    policies: Annotated[
        str, typer.Option(help="Names with commas between, or `all`.")
    ] = _DEFAULT_POLICIES,
    out: Annotated[
        Path | None, typer.Option(help="Folder for runs.csv and plots; made when missing.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
    load: Annotated[
        float,
        typer.Option(min=0.01, help="Arrivals; 1 is the most that the clairvoyant serves."),
    ] = 0.7,
    users: Annotated[
        float | None, typer.Option(min=1, help="So many users instead of the trace's arrivals.")
    ] = None,
    requests_per_user_hour: Annotated[
        float, typer.Option(min=0.001, help="With --users: how often each asks.")
    ] = 1.0,
    slo_class: Annotated[
        list[str] | None,
        typer.Option(help="Class that callers ask for; several share. Default: the file's."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per policy, each of other draws.")] = 10,
    first_seed: Annotated[int, typer.Option(help="The same seed gives the same figures.")] = 1,
    requests: Annotated[
        int | None, typer.Option(min=50, help="Scored requests per run. Default: the later part.")
    ] = None,
    tuning_share: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Earlier part of the trace, to tune on.")
    ] = 0.5,
    sweep: Annotated[Axis | None, typer.Option(help="Vary one thing.")] = None,
    values: Annotated[str, typer.Option(help="With --sweep: numbers with commas between.")] = "",
    staleness_s: Annotated[float, typer.Option(min=0, help="Age of load reports.")] = 0.0,
    routers: Annotated[int, typer.Option(min=1, help="Routers that share the tiers.")] = 1,
    slow_down: Annotated[
        float, typer.Option(min=0.1, help="From the middle on, steps take so many times as long.")
    ] = 1.0,
    misspecified: Annotated[
        float, typer.Option(min=0.05, help="Engines are so many times as fast as routers believe.")
    ] = 1.0,
    fail: Annotated[
        list[str] | None,
        typer.Option(help="TIER@SECOND:DURATION, a replica that dies and comes back."),
    ] = None,
    patience: Annotated[
        int, typer.Option(min=0, help="How often a refused caller comes back as told.")
    ] = 0,
    autoscale: Annotated[
        bool, typer.Option("--autoscale", help="Follow each tier's autoscaling_config.")
    ] = False,
    price: Annotated[
        list[str] | None, typer.Option(help="TIER=USD, another price per replica and hour.")
    ] = None,
    objective: Annotated[
        Objective | None, typer.Option(help="Another routing.objective than the file's.")
    ] = None,
    is_plotted: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw to --out.")] = True,
) -> None:
    """Compare ways to choose a tier on a trace or a decision log, in simulated time.

    \b
    Engines have timings from published figures, by another formula than the router's. The trace
    is cut in time: policies are tuned and warmed up on its earlier part, scored on draws of the
    later. A decision log is replayed as it came, against other policies, prices or tiers. Beside
    them: a clairvoyant that knows all lengths and plays the engines ahead.
    Exit code 0: done. 1: a file or an option is wrong.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        if (trace is None) == (decisions is None):
            raise ValueError("Give either --trace FILE or --decisions LOG.")
        wishes = Wishes(slo_class or [], misspecified, autoscale, price or [], objective)
        disturbances = Disturbances(
            staleness_s, routers, slow_down, tuple(map(failure, fail or ())), patience
        )
        setting = disturbed(setting_of_file(config, wishes), disturbances)
        many = None if users is None else Users(users, requests_per_user_hour)
        plan = Plan(load, tuple(range(first_seed, first_seed + seeds)), requests, many)
        if decisions is not None:
            names = [n for n in names_of(policies) if n not in catalogue.TUNED]
            comparisons, source = _replayed(names, setting, plan, decisions, console)
        else:
            assert trace is not None
            names, parts = names_of(policies), _parts(trace, setting, tuning_share)
            comparisons = _compared(names, setting, parts, plan, sweep, values, console)
            source = _about(trace, parts)
        document = as_document(comparisons, config, setting, source)
        show(document, console)
        if out is not None:
            write(out, comparisons, document, sweep, is_plotted)
        if json is not None:
            json.write_text(json_format.dumps(document, indent=2) + "\n")
    except (ValueError, RuntimeError, OSError) as err:
        console.print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err


def _parts(trace: Path, setting: Setting, tuning_share: float) -> Parts:
    return split(read_trace(trace), setting.context_tokens, tuning_share=tuning_share)


def _about(trace: Path, parts: Parts) -> dict[str, Any]:
    return {
        "trace": {
            "file": trace.name, "tuning": len(parts.tuning), "scored": len(parts.scored),
            "left_out": parts.num_left_out,
        },
    }  # fmt: skip


def _replayed(
    names: list[str], setting: Setting, plan: Plan, decisions: Path, console: Console
) -> tuple[Compared, dict[str, Any]]:
    """Every policy on a log's requests; what the server itself reached stands beside."""
    log = read_log(read_entries(decisions), [tier.tier for tier in setting.tiers])
    with progress(console, len(plan.seeds)) as say:
        comparison = replay(names, setting, log.arrivals, plan.seeds, say)
    source = {
        "decisions": {
            "from": decisions.name, "requests": len(log.arrivals),
            "guessed_lengths": log.num_guessed, "recorded": dict(log.recorded),
        },
    }  # fmt: skip
    return [(1.0, comparison)], source


def _compared(
    names: list[str],
    setting: Setting,
    parts: Parts,
    plan: Plan,
    sweep: Axis | None,
    values: str,
    console: Console,
) -> Compared:
    swept = [] if sweep is None else values_of(sweep, values)
    with progress(console, (len(swept) or 1) * (len(plan.seeds) + 1) + 1) as say:
        if plan.users is None:
            say("looking for the most that the clairvoyant can serve")
            plan = replace(plan, full_per_s=full_rate_per_s(parts, setting))
        points = [(plan.load, setting, plan)]
        if sweep is not None:
            points = list(along(sweep, swept, setting, plan))
        return [
            (value, compare(names, changed, parts, planned, say))
            for value, changed, planned in points
        ]
