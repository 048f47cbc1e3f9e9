"""What each policy is given before it is scored, found on the earlier part of the trace."""

import random
from collections.abc import Sequence

from serve_app.config import Chain
from serve_app.simulator.experiment.run import Traffic, play, run
from serve_app.simulator.fleet.members import LoadBoard
from serve_app.simulator.fleet.setting import Setting
from serve_app.simulator.policies.blind import Random
from serve_app.simulator.policies.catalogue import OURS, OURS_TUNED, Tuned, as_router
from serve_app.simulator.policies.regression import LinearQuantile, Recorder, fit
from serve_app.simulator.router import Router

_LIMITS = (0, 64, 128, 256, 384, 512, 768, 1024, 1152, 1280, 1536, 2048, 3072, 4000, 1_000_000)
_ATTAINMENTS = (0.5, 0.7, 0.85, 0.95)
_CHAINS: tuple[Chain, ...] = (("degrade",), ("reject",))


def tune(names: Sequence[str], setting: Setting, traffic: Traffic) -> Tuned:
    """Tunes what the named policies need, each for quality-weighted goodput at this load."""
    prompt_limit = _prompt_limit(setting, traffic) if "prompt-length" in names else (0, True)
    share = 0.5
    if "quality-threshold" in names:
        share = run(OURS, setting, Tuned(), traffic).best_tier_share
    needs_fit = any(name.startswith("quantile-regression") for name in names)
    return Tuned(
        prompt_limit,
        share,
        _regression(setting, traffic) if needs_fit else {},
        _promise(setting, traffic) if OURS_TUNED in names else None,
    )


def _prompt_limit(setting: Setting, traffic: Traffic) -> tuple[int, bool]:
    """The best of all limits, either side of them to the best tier."""
    choices = [(limit, is_long_best) for limit in _LIMITS for is_long_best in (True, False)]
    return max(
        choices,
        key=lambda choice: (
            run("prompt-length", setting, Tuned(prompt_limit=choice), traffic).quality_goodput
        ),
    )


def _promise(setting: Setting, traffic: Traffic) -> tuple[float, Chain]:
    """The best of some attainments, late ones degraded or refused."""
    choices = [(attainment, chain) for attainment in _ATTAINMENTS for chain in _CHAINS]
    return max(
        choices,
        key=lambda choice: run(OURS_TUNED, setting, Tuned(promise=choice), traffic).quality_goodput,
    )


def _regression(setting: Setting, traffic: Traffic) -> dict[str, LinearQuantile]:
    """Fitted to what requests met that were sent anywhere at random."""
    recorders: list[Recorder] = []
    tiers = [tier.tier for tier in setting.tiers]

    def make(board: LoadBoard) -> Router:
        recorders.append(Recorder(Random(tiers, random.Random(traffic.seed)), board))
        return as_router(recorders[-1], setting)

    play(make, setting, traffic)
    return fit([sample for recorder in recorders for sample in recorder.samples])
