"""Builders of options and demands for sizing."""

from dataclasses import replace

from serve_app.routing.latency import LatencyProfile
from serve_app.routing.types import Slo
from serve_app.simulator.fleet.setting import AskedClass, Brain
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.simulator.timing import EngineTiming
from serve_app.simulator.trace import Request
from serve_app.sizing.capacity import Option
from serve_app.sizing.demand import Demand
from serve_app.sizing.trial import Router

SLO = Slo(e2e_ms=2000.0, attainment=0.9)
ROUTER = Router(AskedClass("bot", SLO, 50), Brain("best_quality_within_slo", 50, 60.0))


def an_option(
    name: str = "small",
    *,
    quality: float = 1.0,
    usd_per_hour: float = 1.0,
    step_s: float = 0.01,
    **changes: object,
) -> Option:
    """A prompt takes 10 ms, a step `step_s` and 1 ms for each sequence in it."""
    profile = LatencyProfile(0.01, 0.0, step_s, 0.001, is_measured=True)
    timing = EngineTiming(weights_s=step_s, token_s=0.0, sequence_s=0.001, prefill_s=0.01)
    tier = SimulatedTier(
        name, timing, profile, {"default": quality}, usd_per_hour, context_tokens=4096,
        max_num_seqs=64, max_batched_tokens=2048, kv_tokens=1_000_000,
    )  # fmt: skip
    return Option("A6000", 1, replace(tier, **changes))


def a_demand(*, rps: float = 10.0, output_tokens: int = 51, **changes: object) -> Demand:
    """Prompts of 100 tokens; `rps` at the peak, which is the mean."""
    lengths = [Request(0.0, 100, output_tokens)]
    return replace(Demand(rps * 3600, 1.0, 1.0, lengths, SLO), **changes)
