"""`tandem size`: how many replicas of what, and what that costs, checked by simulating it."""

import json as json_format
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serve_app.commands.progress import progress
from serve_app.commands.simulation.fleet import Wishes, setting_of
from serve_app.commands.sizing.machines import options_of
from serve_app.commands.sizing.question import (
    config_of,
    counts_of,
    lengths_of,
    names_of,
    prices_of,
    refuse_endless,
)
from serve_app.commands.sizing.show import show, told
from serve_app.sizing.answer import Answer, as_document
from serve_app.sizing.capacity import capacity_of
from serve_app.sizing.cost import hosted
from serve_app.sizing.demand import Demand
from serve_app.sizing.fleets import fleets
from serve_app.sizing.trial import MOST_TRIALS, Router, trials


def size(
    users: Annotated[float, typer.Option(min=1, help="How many people use it.")],
    config: Annotated[Path, typer.Option(help="Serve file with the tiers and the class.")],
    slo_class: Annotated[str, typer.Option("--class", help="Class that they ask for.")],
    requests_per_user_hour: Annotated[
        float, typer.Option(min=1e-6, help="Of each user, on average over the day.")
    ] = 1.0,
    accelerators: Annotated[
        str, typer.Option(help="Which to consider, with commas between.")
    ] = "A6000,A100-80,H100",
    per_replica: Annotated[
        str, typer.Option(help="How many of them may make one replica, with commas between.")
    ] = "1,2,4",
    min_quality: Annotated[
        float | None, typer.Option(help="Least mean `quality.default` of the replies.")
    ] = None,
    peak_factor: Annotated[
        float,
        typer.Option(min=1, help="Busiest hour over the day's mean; replicas are for the peak."),
    ] = 1.5,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Of each request.")] = 512,
    output_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Of each reply. Default: the class's expected_output_tokens."),
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="CSV whose lengths are drawn instead.")] = None,
    prices: Annotated[
        Path | None, typer.Option(help="YAML with your prices, over those that are shipped.")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(help="NAME=USD per hour of one accelerator.")
    ] = None,
    check_s: Annotated[float, typer.Option(min=5, help="Simulated seconds of the check.")] = 60.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same answer.")] = 1,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """Say how many replicas a number of users needs, what limits them, and what they cost.

    \b
    One replica's capacity comes from a formula; the cheapest fleet of one tier, or of
    two when --min-quality asks for it, is then simulated at the peak's full rate and grown until
    it holds. The engines in it have published speeds, not measured ones. docs/sizing.md has more.
    Exit code 0: the simulated fleet is in time. 1: nothing is, or a file or an option is wrong.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        refuse_endless({
            "--users": users, "--requests-per-user-hour": requests_per_user_hour,
            "--min-quality": min_quality, "--peak-factor": peak_factor, "--check-s": check_s,
        })  # fmt: skip
        app, listed = config_of(config), prices_of(prices, price or ())
        setting = setting_of(app, Wishes([slo_class]))
        asked = setting.classes[0]
        options, refused = options_of(app, names_of(accelerators), counts_of(per_replica), listed)
        lengths = lengths_of(trace, prompt_tokens, output_tokens, asked.expected_output_tokens)
        demand = Demand(users, requests_per_user_hour, peak_factor, lengths, asked.slo)
        capacities = [capacity_of(option, demand) for option in options]
        plans = fleets(capacities, demand, min_quality=min_quality)
        with progress(console, MOST_TRIALS if plans else 0) as say:
            done = trials(
                plans, demand, Router(asked, setting.brain), min_quality=min_quality,
                duration_s=check_s, seed=seed, say=lambda trial: say(told(trial)),
            )  # fmt: skip
        answer = Answer(
            demand, slo_class, min_quality, capacities, refused, plans, done,
            list(hosted(listed, demand)),
        )  # fmt: skip
        show(answer, listed, console)
        if json is not None:
            json.write_text(json_format.dumps(as_document(answer), indent=2) + "\n")
    except (ValueError, OSError) as err:
        console.print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err
    if not answer.is_met:
        raise typer.Exit(1)
