"""One policy on one stretch of traffic. Requests and a policy in, a Score out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from serve_app.config import Chain
from serve_app.simulator.engine import Replica
from serve_app.simulator.experiment.scaling import Autoscaler, plan_failures
from serve_app.simulator.fleet.members import Fleet, LoadBoard
from serve_app.simulator.fleet.setting import Setting
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.simulator.metrics.score import Score, Scorer
from serve_app.simulator.policies import catalogue
from serve_app.simulator.policies.catalogue import KNOWING, OURS_TUNED, Tuned
from serve_app.simulator.policies.ours import knowing_the_length
from serve_app.simulator.requests import Arrival, Result
from serve_app.simulator.router import Router
from serve_app.simulator.world import World

# Engines' noise and policies' dice are drawn apart from the traffic.
_NOISE_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is offered in one run; who arrives before `scored_from_s` only teaches.

    arrivals: all of them afresh, in order. ends_at_s: the last one. clairvoyant: the sum of quality
    that the policy with foresight had on the scored ones, once it is known.
    """

    arrivals: Callable[[], Iterable[Arrival]]
    scored_from_s: float
    ends_at_s: float
    seed: int
    clairvoyant: float | None = None


MakeRouter = Callable[[LoadBoard], Router]


def run(name: str, setting: Setting, tuned: Tuned, traffic: Traffic) -> Score:
    """Plays the traffic under a policy of the catalogue."""

    def make(board: LoadBoard) -> Router:
        return catalogue.router(name, setting, tuned, board, seed=traffic.seed)

    if name in KNOWING:
        traffic = replace(traffic, arrivals=partial(_told, traffic))
    if name == OURS_TUNED and tuned.promise is not None:
        traffic = replace(traffic, arrivals=partial(_promised, traffic, *tuned.promise))
    return play(make, setting, traffic, is_deadline_ordered=catalogue.is_deadline_ordered(name))


def play(
    make: MakeRouter,
    setting: Setting,
    traffic: Traffic,
    *,
    is_deadline_ordered: bool = False,
) -> Score:
    """Plays the traffic under routers that `make` builds."""
    world = build(make, setting, traffic, is_deadline_ordered=is_deadline_ordered)
    scorer = Scorer(
        traffic.scored_from_s,
        {tier.tier: tier.quality for tier in setting.tiers},
        has_classes=len(setting.classes) > 1,
    )
    for result in world.run(map(Result, traffic.arrivals())):
        scorer.add(result)
    usd = world.fleet.usd(setting.prices, traffic.scored_from_s, traffic.ends_at_s)
    return scorer.score(usd=usd, best_tier=setting.best_first[0], clairvoyant=traffic.clairvoyant)


def build(
    make: MakeRouter, setting: Setting, traffic: Traffic, *, is_deadline_ordered: bool
) -> World:
    """Fleet, routers and whatever disturbs them."""
    disturbances = setting.disturbances
    seeds = count(_NOISE_SEED * (traffic.seed + 1), 1009)
    fleet = Fleet.of(
        {tier.tier: partial(_replica, tier, next(seeds)) for tier in setting.tiers},
        setting.replicas,
    )
    board = LoadBoard(fleet, staleness_s=disturbances.staleness_s)
    world = World(
        fleet,
        [make(board) for _ in range(disturbances.num_routers)],
        orders_by_deadline=is_deadline_ordered,
        report_delay_s=disturbances.staleness_s,
    )
    for tier in setting.tiers:
        if tier.scaling is not None:
            Autoscaler(world, tier.tier, tier.scaling).start(0.0)
    plan_failures(world, disturbances.failures)
    if disturbances.slow_down != 1.0:
        middle_s = (traffic.scored_from_s + traffic.ends_at_s) / 2
        world.at(middle_s, lambda _: world.fleet.slow_down(disturbances.slow_down))
    return world


def _replica(tier: SimulatedTier, seed: int, number: int) -> Replica:
    return tier.replica(seed + number)


def _told(traffic: Traffic) -> Iterator[Arrival]:
    """The same callers, who know how long their replies will be and say so."""
    for arrival in traffic.arrivals():
        asked = knowing_the_length(arrival.asked, arrival.request.output_tokens)
        yield replace(arrival, asked=asked)


def _promised(traffic: Traffic, attainment: float, on_infeasible: Chain) -> Iterator[Arrival]:
    """The same callers, whose class asks for another attainment."""
    for arrival in traffic.arrivals():
        slo = replace(arrival.asked.slo, attainment=attainment, on_infeasible=on_infeasible)
        yield replace(arrival, asked=replace(arrival.asked, slo=slo))
