"""All ways to scale on the same traffic, several times. A Ground in, a document's rows out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from statistics import fmean
from typing import Any

from serve_app.bench.autoscaling.run import (
    NAMES,
    ROUTER_SIGNAL,
    ROUTER_SIGNAL_TO_ZERO,
    Ground,
    Outcome,
    play,
)
from serve_app.bench.autoscaling.traffic import bursty, diurnal
from serve_app.simulator.experiment.run import Traffic
from serve_app.simulator.experiment.workload import asked
from serve_app.simulator.trace import Request

SHAPES = {"diurnal": diurnal, "bursty": bursty}
# Lengths and speed are learned in these first requests.
_NUM_TEACHING = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """mean_per_s: requests per second over the duration."""

    mean_per_s: float
    duration_s: float
    seeds: tuple[int, ...]


def compare(
    ground: Ground, lengths: Sequence[Request], plan: Plan, say: Callable[[str], None]
) -> dict[str, dict[str, dict[str, Any]]]:
    """By shape of traffic and way to scale, the mean over the seeds."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for shape in SHAPES:
        traffics = [_traffic(shape, lengths, plan, ground, seed) for seed in plan.seeds]
        for name in NAMES:
            outcomes = [play(name, ground, traffic) for traffic in traffics]
            found.setdefault(shape, {})[name] = _mean(outcomes)
            say(f"{shape}: {name}")
    return found


def dominated_by(ways: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Others' ways with more replies in time, in quality's weight too, for fewer accelerators."""
    ours = ways[ROUTER_SIGNAL]
    return [
        other for other, way in ways.items()
        if other != ROUTER_SIGNAL_TO_ZERO
        and way["attainment"] > ours["attainment"]
        and way["quality_goodput"] > ours["quality_goodput"]
        and way["accelerator_hours"] < ours["accelerator_hours"]
    ]  # fmt: skip


def _traffic(
    shape: str, lengths: Sequence[Request], plan: Plan, ground: Ground, seed: int
) -> Traffic:
    drawn = SHAPES[shape](
        lengths, mean_per_s=plan.mean_per_s, duration_s=plan.duration_s, seed=seed
    )
    requests = list(drawn)
    teaching = list(islice(requests, _NUM_TEACHING))
    if len(requests) <= len(teaching):
        raise ValueError(f"{len(requests)} requests are too few: raise the rate or the minutes.")
    return Traffic(
        partial(asked, requests, ground.setting, seed=seed),
        teaching[-1].arrived_at_s,
        requests[-1].arrived_at_s,
        seed,
    )


def _mean(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    rows = [asdict(outcome) for outcome in outcomes]
    return {key: fmean(row[key] for row in rows) for key in rows[0]}
