"""Which fleet is large enough? Whole ones, simulated at the peak. Plans in, trials out.

Engines batch step by step with noise, arrivals come in bursts, and the server's own brain decides:
none of the three is in the capacities that the plans were made from.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count

from serve_app.simulator.arrivals import synthesize
from serve_app.simulator.experiment.run import Traffic, run
from serve_app.simulator.experiment.workload import asked
from serve_app.simulator.fleet.setting import AskedClass, Brain, Setting
from serve_app.simulator.metrics.score import Score
from serve_app.simulator.policies.catalogue import OURS, Tuned
from serve_app.sizing.demand import Demand
from serve_app.sizing.fleets import FleetPlan

# Each failed one comes back with a twentieth more replicas.
MOST_TRIALS = 24
# Replies in flight and the router's learning settle meanwhile; not scored.
_WARM_UP_LIMITS = 3.0


@dataclass(frozen=True, slots=True)
class Router:
    """Who asks in the trial, and how the brain that decides is configured."""

    asked: AskedClass
    brain: Brain


@dataclass(frozen=True, slots=True)
class Trial:
    """One simulated stretch of the peak. quality: of the replies in time, in the mean."""

    plan: FleetPlan
    requests: int
    attainment: float
    accept_rate: float
    quality: float
    e2e_s: dict[str, float]
    is_attained: bool
    is_good_enough: bool

    @property
    def is_met(self) -> bool:
        return self.is_attained and self.is_good_enough


def trials(
    plans: Sequence[FleetPlan],
    demand: Demand,
    router: Router,
    *,
    min_quality: float | None,
    duration_s: float,
    seed: int,
    say: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Simulates the cheapest plan; one that fails comes back grown, in its place by price.

    Ends with the first that is large enough, so with the cheapest; or with one that is not, after
    `MOST_TRIALS`.

    Args:
        duration_s: scored time; some more before it lets the fleet fill.
        say: is told each trial.
    """
    numbers = count()
    queue = [(plan.usd_per_hour, next(numbers), plan) for plan in plans]
    heapify(queue)
    done: list[Trial] = []
    while queue and len(done) < MOST_TRIALS:
        _, _, plan = heappop(queue)
        score = _simulate(plan, demand, router, duration_s=duration_s, seed=seed)
        done.append(_judge(plan, score, demand, min_quality))
        say(done[-1])
        if done[-1].is_met:
            break
        larger = plan.grown(only_best=done[-1].is_attained)
        heappush(queue, (larger.usd_per_hour, next(numbers), larger))
    return done


def _simulate(
    plan: FleetPlan, demand: Demand, router: Router, *, duration_s: float, seed: int
) -> Score:
    setting = Setting(
        tiers=tuple(
            replace(part.capacity.option.tier, replicas=part.replicas, scaling=None)
            for part in plan.parts
        ),
        classes=(router.asked,),
        brain=router.brain,
    )
    warm_up_s = _WARM_UP_LIMITS * demand.limit_s
    ends_at_s = warm_up_s + duration_s
    requests = list(
        synthesize(
            [demand.peak_rps], lengths=demand.lengths, randomness=random.Random(seed),
            window_s=ends_at_s,
        )
    )  # fmt: skip
    arrivals = partial(asked, requests, setting, seed=seed)
    return run(OURS, setting, Tuned(), Traffic(arrivals, warm_up_s, ends_at_s, seed))


def _judge(plan: FleetPlan, score: Score, demand: Demand, min_quality: float | None) -> Trial:
    good = score.attainment * score.offered
    quality = score.good_quality / good if good else 0.0
    return Trial(
        plan,
        score.offered,
        score.attainment,
        score.accept_rate,
        quality,
        dict(score.e2e_s),
        is_attained=score.attainment >= demand.slo.attainment,
        is_good_enough=min_quality is None or quality >= min_quality,
    )
