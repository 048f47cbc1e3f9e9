"""Every policy on the same traffic, several times. A trace and a setting in, Comparisons out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from serve_app.simulator.bound.greedy import greedy
from serve_app.simulator.bound.work import jobs
from serve_app.simulator.experiment.run import Traffic, run
from serve_app.simulator.experiment.traffic import Plan, scored_traffic, tuning_traffic
from serve_app.simulator.experiment.tuning import tune
from serve_app.simulator.experiment.workload import Parts
from serve_app.simulator.fleet.setting import Setting
from serve_app.simulator.metrics.score import Score
from serve_app.simulator.policies.catalogue import FORESIGHT, Tuned
from serve_app.simulator.requests import Arrival

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One setting at one load: by policy a score per seed. bound: by seed, of work alone.

    load: None for traffic that came as it is. bound: empty where not all requests have a deadline.
    """

    load: float | None
    rate_per_s: float
    tuned: Tuned
    scores: Mapping[str, Sequence[Score]]
    clairvoyant: Sequence[Score]
    bound: Sequence[Score]


def compare(
    names: Sequence[str], setting: Setting, parts: Parts, plan: Plan, say: Say
) -> Comparison:
    """Tunes on the earlier part at this load, then scores every policy on draws of the later."""
    rate_per_s = plan.rate_per_s(parts, setting)
    tuned = tune(names, setting, tuning_traffic(parts, setting, rate_per_s))
    load = None if plan.users is not None else plan.load
    say(f"{rate_per_s:.3g} requests/s: tuned")
    scores: dict[str, list[Score]] = {name: [] for name in names}
    clairvoyant, bound = [], []
    for seed in plan.seeds:
        traffic = scored_traffic(parts, setting, rate_per_s, plan, seed=seed)
        foreseen = run(FORESIGHT, setting, tuned, traffic)
        clairvoyant.append(foreseen)
        traffic = replace(traffic, clairvoyant=foreseen.good_quality)
        bound.append(_bound(traffic, setting, foreseen))
        for name in names:
            is_same = name == FORESIGHT
            scores[name].append(foreseen if is_same else run(name, setting, tuned, traffic))
        say(f"{rate_per_s:.3g} requests/s: seed {seed}")
    return Comparison(load, rate_per_s, tuned, scores, clairvoyant, bound)


def replay(
    names: Sequence[str],
    setting: Setting,
    arrivals: Sequence[Arrival],
    seeds: Sequence[int],
    say: Say,
) -> Comparison:
    """Scores policies on all of these requests, just as they came; seeds are the engines' noise."""
    span_s = arrivals[-1].request.arrived_at_s
    scores: dict[str, list[Score]] = {name: [] for name in names}
    clairvoyant = []
    for seed in seeds:
        traffic = Traffic(lambda: arrivals, 0.0, span_s, seed)
        foreseen = run(FORESIGHT, setting, Tuned(), traffic)
        clairvoyant.append(foreseen)
        traffic = replace(traffic, clairvoyant=foreseen.good_quality)
        for name in names:
            scores[name].append(run(name, setting, Tuned(), traffic))
        say(f"seed {seed}")
    return Comparison(None, len(arrivals) / max(1e-9, span_s), Tuned(), scores, clairvoyant, ())


def _bound(traffic: Traffic, setting: Setting, like: Score) -> Score:
    """The greedy bound by work on the scored requests, in the words of a score."""
    scored = [a for a in traffic.arrivals() if a.request.arrived_at_s >= traffic.scored_from_s]
    found = greedy(jobs(scored, setting.tiers), setting.replicas)
    span_s = traffic.ends_at_s - traffic.scored_from_s
    return replace(
        like,
        attainment=found.num_served / len(scored),
        goodput_rps=found.num_served / span_s,
        quality_goodput=found.quality / span_s,
        good_quality=found.quality,
    )
