"""Serve's autoscaling policies of tiers and routers, called by the controller every tick.

Serve pickles this module by value: state lives in `board`, never in globals here.
"""

from typing import Any

from ray.serve.autoscaling_policy import replica_queue_length_autoscaling_policy
from ray.serve.config import AutoscalingContext

from serve_app.config import ScalingConfig
from serve_app.scaling.board import board_of
from serve_app.scaling.budget import TierFleet


class TierReplicas:
    """One tier's policy. Bounds, factors and delays of its `autoscaling_config` stay Serve's.

    Args:
        tier: its id. accelerators: of one replica. scaling: the `scaling` block.
    """

    def __init__(self, tier: str, accelerators: int, scaling: dict[str, Any]) -> None:
        self._tier = tier
        self._accelerators = accelerators
        self._config = ScalingConfig.model_validate(scaling)

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        fleet = TierFleet(
            running=ctx.current_num_replicas,
            target=ctx.target_num_replicas,
            least=ctx.capacity_adjusted_min_replicas,
            most=ctx.capacity_adjusted_max_replicas,
            accelerators=self._accelerators,
        )
        board = board_of(ctx.app_name or "")
        return board.replicas(self._tier, fleet, self._config, now=ctx.current_time), {}


def heard_from_routers(ctx: AutoscalingContext) -> tuple[int | float, dict[str, Any]]:
    """The routers' policy: notes what they say of the tiers; their own number is as in Serve."""
    board_of(ctx.app_name or "").metrics = ctx.aggregated_metrics or {}
    number: tuple[int | float, dict[str, Any]] = replica_queue_length_autoscaling_policy(ctx)
    return number
