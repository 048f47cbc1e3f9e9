"""Builders of simulated tiers, requests and worlds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from serve_app.routing.latency import LatencyProfile
from serve_app.routing.types import RoutingRequest, Slo
from serve_app.simulator.experiment.run import Traffic
from serve_app.simulator.fleet.members import Fleet
from serve_app.simulator.fleet.probe import measured
from serve_app.simulator.fleet.setting import AskedClass, Brain, Setting
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.simulator.requests import Arrival, Result
from serve_app.simulator.timing import EngineTiming
from serve_app.simulator.trace import Request
from serve_app.simulator.world import Router, World

# Whole numbers: a prompt of any length takes 10 ms, each token of a reply 10 ms on the small tier
# and 30 on the large one, however many are in the batch.
SMALL = EngineTiming(weights_s=0.010, token_s=0.0)
LARGE = EngineTiming(weights_s=0.030, token_s=0.0)


def a_tier(name: str, timing: EngineTiming, quality: float, **changes: Any) -> SimulatedTier:
    unmeasured = LatencyProfile(0.0, 0.0, 0.0, 0.0)
    tier = SimulatedTier(
        name, timing, unmeasured, quality={"default": quality}, usd_per_hour=3.6,
        context_tokens=4096, max_num_seqs=8, max_batched_tokens=2048, kv_tokens=50_000,
    )  # fmt: skip
    tier = replace(tier, profile=measured(lambda: tier.replica(0)))
    return replace(tier, **changes)


def a_setting(*tiers: SimulatedTier, e2e_ms: float = 5000, **changes: Any) -> Setting:
    slo = Slo(e2e_ms=e2e_ms, on_infeasible=("degrade",))
    tiers = tiers or (a_tier("small", SMALL, 1.0), a_tier("large", LARGE, 2.0))
    brain = Brain("best_quality_within_slo", 100, 60.0)
    return replace(Setting(tiers, (AskedClass("bot", slo),), brain), **changes)


def an_arrival(
    at_s: float,
    output_tokens: int = 100,
    *,
    prompt_tokens: int = 100,
    e2e_ms: float = 5000,
    patience: int = 0,
) -> Arrival:
    asked = RoutingRequest(
        {"small": prompt_tokens, "large": prompt_tokens}, Slo(e2e_ms=e2e_ms), share_key="bot"
    )
    return Arrival(Request(at_s, prompt_tokens, output_tokens), asked, patience)


def a_traffic(arrivals: Sequence[Arrival], *, scored_from_s: float = 0.0) -> Traffic:
    return Traffic(lambda: arrivals, scored_from_s, arrivals[-1].request.arrived_at_s, seed=1)


def a_fleet(setting: Setting) -> Fleet:
    makers = {tier.tier: partial(tier.replica) for tier in setting.tiers}
    return Fleet.of(makers, setting.replicas)


def played(world: World, arrivals: Sequence[Arrival]) -> list[Result]:
    """In the order of arrival."""
    results = [Result(arrival) for arrival in arrivals]
    assert len(list(world.run(results))) == len(results)
    return results


def a_world(setting: Setting, *routers: Router, **options: Any) -> World:
    return World(a_fleet(setting), routers, **options)
