"""How long simulating many requests takes on one core, and how much memory.

python -m serve_app.simulator.validation.speed TRACE.csv round-robin 1000000
"""

import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

from serve_app.routing.latency import LatencyProfile
from serve_app.routing.types import Slo
from serve_app.simulator.experiment.run import run
from serve_app.simulator.experiment.traffic import Plan, Users, scored_traffic
from serve_app.simulator.experiment.workload import split
from serve_app.simulator.fleet.probe import measured
from serve_app.simulator.fleet.setting import AskedClass, Brain, Setting
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.simulator.policies.catalogue import Tuned
from serve_app.simulator.timing import LLAMA_70B_AWQ_A100, ZEPHYR_7B_A6000, EngineTiming
from serve_app.simulator.trace import read_trace

_RATE_PER_S = 3.0
_E2E_MS = 30_000


def a_tier(name: str, timing: EngineTiming, quality: float, replicas: int) -> SimulatedTier:
    """48 slots, the usual chunk of prefill, and memory enough."""
    unmeasured = LatencyProfile(0.0, 0.0, 0.0, 0.0)
    tier = SimulatedTier(
        name, timing, unmeasured, {"default": quality}, 1.0, 8192, 48, 2048, 300_000, replicas
    )
    return replace(tier, profile=measured(lambda: tier.replica(0)))


def a_setting() -> Setting:
    """Four 7B replicas on A6000 and two of 70B-AWQ on A100, replies asked for within 30 s."""
    tiers = (a_tier("small", ZEPHYR_7B_A6000, 1.0, 4), a_tier("large", LLAMA_70B_AWQ_A100, 1.2, 2))
    asked = AskedClass("bot", Slo(e2e_ms=_E2E_MS, on_infeasible=("degrade",)))
    return Setting(tiers, (asked,), Brain("best_quality_within_slo", 256, 60.0))


def main(trace: Path, policy: str, requests: int) -> None:
    """Prints time, memory and what came of the run, from which a rerun can be told."""
    setting = a_setting()
    parts = split(read_trace(trace), setting.context_tokens)
    plan = Plan(requests=requests, users=Users(_RATE_PER_S * 3600.0, 1.0))
    began_s = time.perf_counter()
    traffic = scored_traffic(parts, setting, _RATE_PER_S, plan, seed=1)
    score = run(policy, setting, Tuned(), traffic)
    took_s = time.perf_counter() - began_s
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{policy}: {score.offered:,} requests in {took_s:.1f} s, {1e6 * took_s / requests:.0f} us "
        f"each, {megabytes:.0f} MB; {_RATE_PER_S:g} requests/s, attainment {score.attainment!r}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
