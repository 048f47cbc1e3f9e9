"""One tier as it is simulated: its engine, its replicas and what the router is told. Data only."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.routing.assess import assess
from serve_app.routing.candidate import Candidate
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.live.facts import EngineFacts, TierSettings
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest, Slo
from serve_app.simulator.engine import EngineTiming, Replica
from serve_app.simulator.fleet.plans import Scaling


@dataclass(frozen=True, slots=True)
class SimulatedTier:
    """One tier.

    timing: how fast its engine is. profile: how fast the router believes it to be at the start.
    replicas: at the start, and for good without `scaling`.
    """

    tier: str
    timing: EngineTiming
    profile: LatencyProfile
    quality: Mapping[str, float]
    usd_per_hour: float
    context_tokens: int
    max_num_seqs: int
    max_batched_tokens: int
    kv_tokens: int
    replicas: int = 1
    scaling: Scaling | None = None

    def quality_for(self, task: str) -> float:
        return self.quality.get(task, self.quality["default"])

    def replica(self, seed: int) -> Replica:
        """A new, idle one."""
        return Replica(
            self.timing,
            max_num_seqs=self.max_num_seqs,
            max_batched_tokens=self.max_batched_tokens,
            kv_tokens=self.kv_tokens,
            noise=random.Random(seed),
        )

    def state(
        self,
        default_output_tokens: int,
        all_lengths: OutputLengths,
        kind: type[TierState] = TierState,
    ) -> TierState:
        """What a router knows of it when its engine has just been measured."""
        settings = TierSettings(self.tier, self.quality, self.usd_per_hour, 0, None, self.profile)
        state = kind(settings, default_output_tokens=default_output_tokens, all_lengths=all_lengths)
        state.num_replicas = self.replicas
        state.engine_started(
            EngineFacts(self.profile, self.context_tokens, self.max_num_seqs, self.tier)
        )
        return state

    def candidate(self, slo: Slo) -> Candidate:
        """It as a choice that rests on no prediction, for policies that make none."""
        view = self.state(1, OutputLengths(1)).view(0.0)
        request = RoutingRequest(prompt_tokens={self.tier: 1}, slo=slo)
        return assess(request, view, "best_quality_within_slo")
