"""Deployment options with the policies in them. Configuration in, configuration out; no Ray."""

from typing import Any, TypeGuard

from deployments.spec import TierSpec
from serve_app.config import AppConfig, ScalingConfig

# By name: Serve imports them where it builds the application.
_OF_TIERS = "serve_app.scaling.policy:TierReplicas"
_OF_ROUTERS = "serve_app.scaling.policy:heard_from_routers"
# Ray's ten and thirty seconds are long beside a reply; and it starts a tier that has just gone to
# sleep again for requests that it had within its look-back.
_HEARD = {"metrics_interval_s": 1.0, "look_back_period_s": 3.0}


def scaled_tier(spec: TierSpec, scaling: ScalingConfig, accelerators: int) -> TierSpec:
    """The tier with our policy in its `autoscaling_config`, unless it has one of its own.

    Args:
        accelerators: of one replica.
    """
    told = spec.deployment_config.get("autoscaling_config")
    if not _is_ours(told, scaling):
        return spec
    kwargs = {
        "tier": spec.model_id,
        "accelerators": accelerators,
        "scaling": scaling.model_dump(),
    }
    policy = {"policy_function": _OF_TIERS, "policy_kwargs": kwargs}
    scaled = {**_HEARD, **told, "policy": policy}
    options = spec.deployment_config | {"autoscaling_config": scaled}
    return spec.model_copy(update={"deployment_config": options})


def router_options(options: dict[str, Any], config: AppConfig) -> dict[str, Any]:
    """The router's options, so that the controller hears it when a tier follows our policy.

    Serve takes metrics only of deployments that autoscale; a fixed number does between itself
    and itself.
    """
    tiers = [spec.deployment_config.get("autoscaling_config") for spec in config.llm_configs]
    if not any(_is_ours(told, config.scaling) for told in tiers):
        return options
    number = options.get("num_replicas", 1)
    # Else it is "auto", for which Serve has these bounds.
    least, most = (number, number) if isinstance(number, int) else (1, 100)
    told = options.get("autoscaling_config") or {"min_replicas": least, "max_replicas": most}
    heard = {**_HEARD, **told, "policy": {"policy_function": _OF_ROUTERS}}
    fixed = {key: value for key, value in options.items() if key != "num_replicas"}
    return fixed | {"autoscaling_config": heard}


def _is_ours(told: Any, scaling: ScalingConfig) -> TypeGuard[dict[str, Any]]:
    return isinstance(told, dict) and "policy" not in told and scaling.by == "router-signal"
