"""All policies by name. A name and what was tuned for it in, a Router out."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serve_app.config import Chain
from serve_app.routing.live.state import TierState
from serve_app.simulator.bound.foresight import Foresight
from serve_app.simulator.fleet.members import LoadBoard
from serve_app.simulator.fleet.setting import Setting
from serve_app.simulator.policies import blind, measured, ours, queues
from serve_app.simulator.policies.regression import LinearQuantile, QuantileRegression
from serve_app.simulator.policies.rule import Rule, RulePolicy
from serve_app.simulator.router import Router

OURS = "ours"
ABLATIONS: Mapping[str, type[TierState]] = {
    "ours-without-price": ours.WithoutPrice,
    "ours-without-calibration": ours.WithoutCalibration,
    "ours-without-learning": ours.WithoutLearning,
    "ours-without-lengths": ours.WithoutLengths,
    "ours-without-hysteresis": ours.WithoutHysteresis,
    "ours-without-load": ours.WithoutLoad,
}
FORESIGHT = "clairvoyant"
OURS_TUNED = "ours-tuned"
KNOWING = ("ours-knowing-lengths", FORESIGHT)
BASELINES = (
    "always-small", "always-large", "random", "round-robin", "least-queue", "power-of-two",
    "prompt-length", "quality-threshold", "latest-percentile", "histogram-mean",
    "quantile-regression", "quantile-regression-shedding",
)  # fmt: skip
# They are nothing without requests to tune them on.
TUNED = (
    "prompt-length", "quality-threshold", "quantile-regression", "quantile-regression-shedding",
    OURS_TUNED,
)  # fmt: skip
NAMES = (*BASELINES, OURS, OURS_TUNED, *ABLATIONS, *KNOWING)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What policies were given on requests that are not scored; empty for those that need none.

    prompt_limit: tokens, and whether longer prompts go to the best tier. best_share: of requests
    that ours sent to the best tier. promise: the attainment that ours asks of a tier, and what it
    does when none has it; None for what the class says.
    """

    prompt_limit: tuple[int, bool] = (0, True)
    best_share: float = 0.5
    regression: Mapping[str, LinearQuantile] = field(default_factory=dict)
    promise: tuple[float, Chain] | None = None


def router(name: str, setting: Setting, tuned: Tuned, board: LoadBoard, *, seed: int) -> Router:
    """A new one that has learned nothing yet but what was tuned."""
    if name.startswith(OURS):
        return ours.ours(setting.tiers, setting.brain, ABLATIONS.get(name, TierState))
    rule = _rule(name, setting, tuned, board, random.Random(seed))
    return as_router(rule, setting)


def as_router(rule: Rule, setting: Setting) -> Router:
    """A rule as one of the world's routers."""
    return Router(RulePolicy(rule, setting.tiers, setting.classes[0].slo))


def _rule(
    name: str, setting: Setting, tuned: Tuned, board: LoadBoard, randomness: random.Random
) -> Rule:
    tiers = setting.best_first
    large, small = tiers[0], tiers[-1]
    replicas = [tier.tier for tier in setting.tiers for _ in range(tier.replicas)]
    limit_tokens, is_long_best = tuned.prompt_limit
    best_first = sorted(setting.tiers, key=lambda tier: tiers.index(tier.tier))
    makers: dict[str, Callable[[], Rule]] = {
        FORESIGHT: lambda: Foresight(best_first, board.fleet),
        "always-small": lambda: blind.Always(small),
        "always-large": lambda: blind.Always(large),
        "random": lambda: blind.Random(replicas, randomness),
        "round-robin": lambda: blind.RoundRobin(replicas),
        "least-queue": lambda: queues.LeastQueue(tiers, board),
        "power-of-two": lambda: queues.PowerOfTwo(tiers, board, randomness),
        "prompt-length": lambda: blind.PromptLength(
            limit_tokens,
            short=small if is_long_best else large,
            long=large if is_long_best else small,
        ),
        "quality-threshold": lambda: blind.QualityThreshold(
            tuned.best_share, small=small, large=large, randomness=randomness
        ),
        "latest-percentile": lambda: measured.LatestPercentile(tiers),
        "histogram-mean": lambda: measured.HistogramMean(tiers),
        "quantile-regression": lambda: QuantileRegression(
            tiers, tuned.regression, board, sheds=False
        ),
        "quantile-regression-shedding": lambda: QuantileRegression(
            tiers, tuned.regression, board, sheds=True
        ),
    }
    return makers[name]()


def is_deadline_ordered(name: str) -> bool:
    """Whether the engines serve the earliest deadline first under this policy."""
    return name.startswith(OURS) or name in ("histogram-mean", FORESIGHT)


def unknown(names: list[str]) -> list[str]:
    """Those that are no policy."""
    return [name for name in names if name not in NAMES]
