"""One way to scale on one stretch of traffic. A setting and a name in, an Outcome out."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from serve_app.bench.autoscaling.actuator import Actuator
from serve_app.bench.autoscaling.wishes import (
    ByOngoingRequests,
    ByRouterSignal,
    ByTtft,
    Wishes,
)
from serve_app.config import ScalingConfig
from serve_app.routing.decision import Decision
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest
from serve_app.scaling.scaler import Scaler
from serve_app.simulator.experiment.run import Traffic, build
from serve_app.simulator.fleet.members import LoadBoard
from serve_app.simulator.fleet.plans import Scaling
from serve_app.simulator.fleet.setting import Brain, Setting
from serve_app.simulator.metrics.score import Scorer
from serve_app.simulator.policies.ours import Ears
from serve_app.simulator.requests import Result
from serve_app.simulator.router import Router

ROUTER_SIGNAL, ROUTER_SIGNAL_TO_ZERO = "router-signal", "router-signal-to-zero"
ONGOING, ONGOING_DEFAULT, TTFT = "ongoing-requests", "ongoing-requests-2", "ttft-target"
NAMES = (ROUTER_SIGNAL, ROUTER_SIGNAL_TO_ZERO, ONGOING, ONGOING_DEFAULT, TTFT)
# Ray Serve's own target when a file names none.
_RAY_DEFAULT = 2.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What all ways to scale are given alike. bounds, targets, accelerators: by tier.

    targets: `target_ongoing_requests` of the Serve file. ttft_s: target of `ttft-target`. scaling:
    of `router-signal`.
    """

    setting: Setting
    bounds: Mapping[str, Scaling]
    targets: Mapping[str, float]
    accelerators: Mapping[str, int]
    ttft_s: float
    scaling: ScalingConfig


@dataclass(frozen=True, slots=True)
class Outcome:
    """attainment: replies in time, as a share of all asked. best_tier_share: of all, answered by
    the best tier. accelerator_hours: of all replicas, starting and idle ones included.
    """

    offered: int
    attainment: float
    best_tier_share: float
    quality_goodput: float
    accelerator_hours: float
    most_accelerators: int


class CountingChooser(Chooser):
    """Tells the tiers who wants them, as the server's routes do for each new request."""

    def decide(self, request: RoutingRequest, *, now: float) -> Decision:
        decision = super().decide(request, now=now)
        self.wanted(request, decision, now=now)
        return decision


def play(name: str, ground: Ground, traffic: Traffic) -> Outcome:
    """Plays the traffic while one way to scale has its will."""
    setting = ground.setting
    states = _states(setting, setting.brain)
    ttfts: dict[str, deque[tuple[float, float]]] = {tier: deque() for tier in states}

    def heard(tier: str, ended_at_s: float, ttft_s: float) -> None:
        ttfts[tier].append((ended_at_s, ttft_s))

    def make(board: LoadBoard) -> Router:
        board.fleet.on_reply = heard
        brain = setting.brain
        limits = {"objective": brain.objective, "max_outstanding_s": brain.max_outstanding_s}
        return Router(CountingChooser(states, **limits), Ears(states))  # type: ignore[arg-type]

    world = build(make, setting, traffic, is_deadline_ordered=True)
    wishes = _wishes(name, ground, states, ttfts)
    bounds = dict(ground.bounds)
    if name == ROUTER_SIGNAL_TO_ZERO:
        best = setting.best_first[0]
        bounds[best] = replace(bounds[best], min_replicas=0)
    actuator = Actuator(world, wishes, bounds, ground.accelerators)
    actuator.start()
    scorer = Scorer(traffic.scored_from_s, {tier.tier: tier.quality for tier in setting.tiers})
    for result in world.run(map(Result, traffic.arrivals())):
        scorer.add(result)
    score = scorer.score(usd=0.0, best_tier=setting.best_first[0])
    hours = world.fleet.usd(ground.accelerators, traffic.scored_from_s, traffic.ends_at_s)
    return Outcome(
        score.offered, score.attainment, score.best_tier_share, score.quality_goodput, hours,
        actuator.most_accelerators,
    )  # fmt: skip


def _wishes(
    name: str,
    ground: Ground,
    states: Mapping[str, TierState],
    ttfts: Mapping[str, deque[tuple[float, float]]],
) -> Wishes:
    if name == TTFT:
        return ByTtft(ground.ttft_s, ttfts)
    if name == ONGOING:
        return ByOngoingRequests(ground.targets)
    if name == ONGOING_DEFAULT:
        return ByOngoingRequests(dict.fromkeys(states, _RAY_DEFAULT))
    return ByRouterSignal(Scaler(ground.scaling), states)


def _states(setting: Setting, brain: Brain) -> dict[str, TierState]:
    all_lengths = OutputLengths(brain.default_output_tokens)
    return {
        tier.tier: tier.state(brain.default_output_tokens, all_lengths) for tier in setting.tiers
    }
