"""Forecasts every request of a trace before it runs, then runs it. Requests in, Outcomes out.

Prequential: each forecast is made with nothing but what ended before it, and then taught its own
outcome. The engine's timing is the simulator's, whose formula is not the predictor's.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serve_app.routing.candidate import Candidate
from serve_app.routing.forecasting.forecast import Forecast
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.facts import EngineFacts, Outcome, TierSettings
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest, Slo
from serve_app.simulator.engine import EngineTiming, Replica
from serve_app.simulator.fleet import probe
from serve_app.simulator.trace import Request, at_rate

TIER = "tier"
_MAX_NUM_SEQS = 64
_MAX_BATCHED_TOKENS = 2048
_KV_TOKENS = 200_000
CONTEXT_TOKENS = 32_768
_DEFAULT_OUTPUT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Forecasted:
    """One request: what was forecast when it arrived, and what came. Seconds and tokens.

    sequences: in flight when it arrived. ttft_s: until the engine made its first token.
    """

    request: Request
    sequences: float
    forecast: Forecast
    e2e_s: float
    ttft_s: float

    @property
    def finished_at_s(self) -> float:
        return self.request.arrived_at_s + self.e2e_s


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a trace is replayed.

    load: arrivals per second as a share of what the engine finishes when it is never idle.
    slow_down: from the middle on, each step takes so many times as long.
    """

    timing: EngineTiming
    load: float = 0.4
    slow_down: float = 1.0
    seed: int = 1


def replay(requests: Sequence[Request], scenario: Scenario) -> Iterator[Forecasted]:
    """Yields every request in the order of completion, which is the order of learning."""
    requests = at_rate(requests, scenario.load * capacity_per_s(requests, scenario.timing))
    state = _a_tier(scenario.timing)
    chooser = Chooser({TIER: state}, objective="best_quality_within_slo", max_outstanding_s=1e9)
    replica = _replica(scenario.timing, scenario.seed)
    asked: dict[int, tuple[RoutingRequest, Candidate, float]] = {}

    def finished(until_s: float) -> Iterator[Forecasted]:
        for end in replica.advance(until_s):
            index = int(end.request_id)
            asking, candidate, sequences = asked.pop(index)
            request = requests[index]
            e2e_s = end.finished_at_s - request.arrived_at_s
            ttft_s = end.first_token_at_s - request.arrived_at_s
            yield Forecasted(request, sequences, candidate.forecast, e2e_s, ttft_s)
            outcome = Outcome(e2e_s, end.output_tokens)
            chooser.finish(str(index), asking, candidate, outcome, now=end.finished_at_s)

    for index, request in enumerate(requests):
        now = request.arrived_at_s
        yield from finished(now)
        if index == len(requests) // 2:
            replica.slowdown = scenario.slow_down
        asking = RoutingRequest({TIER: request.prompt_tokens}, Slo())
        decision = chooser.decide(asking, now=now)
        candidate = chooser.admit(asking, decision, now=now)
        asked[index] = (asking, candidate, state.view(now).load.sequences)
        chooser.start(str(index), asking, candidate, now=now)
        replica.submit(
            index,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            now=now,
        )
    yield from finished(float("inf"))


def capacity_per_s(requests: Sequence[Request], timing: EngineTiming) -> float:
    """Requests per second that one replica finishes when it always has work."""
    replica = _replica(timing, seed=0)
    for index, request in enumerate(requests):
        replica.submit(
            index,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            now=0.0,
        )
    return len(requests) / replica.advance(float("inf"))[-1].finished_at_s


def measured(timing: EngineTiming) -> LatencyProfile:
    """The profile that a start-up measurement of this engine would give."""
    return probe.measured(lambda: _replica(timing, seed=0))


def _replica(timing: EngineTiming, seed: int) -> Replica:
    return Replica(
        timing,
        max_num_seqs=_MAX_NUM_SEQS,
        max_batched_tokens=_MAX_BATCHED_TOKENS,
        kv_tokens=_KV_TOKENS,
        noise=random.Random(seed),
    )


def _a_tier(timing: EngineTiming) -> TierState:
    profile = measured(timing)
    settings = TierSettings(TIER, {"default": 1.0}, 1.0, 0, None, profile)
    state = TierState(settings, default_output_tokens=_DEFAULT_OUTPUT_TOKENS)
    state.num_replicas = 1
    state.engine_started(EngineFacts(profile, CONTEXT_TOKENS, _MAX_NUM_SEQS, "simulated"))
    return state
