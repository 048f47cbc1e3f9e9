"""The composition root: `build(args)` is what a Serve file imports."""

import os
from typing import Any

import ray
from ray import serve
from ray.serve.deployment import Application

from deployments.deployment import deployment_name, tier_deployment
from deployments.spec import TierSpec
from serve_app.access.binding import refusal
from serve_app.access.counters import Counters
from serve_app.access.settings import with_safe_weights
from serve_app.api.door.cluster import listening_host
from serve_app.api.ingress import Router
from serve_app.check.tier.capacity import accelerators_per_replica, missing_resources
from serve_app.check.tier.sizing import size_tier
from serve_app.config import AppConfig
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.live.facts import TierSettings
from serve_app.scaling.wiring import router_options, scaled_tier

_MAX_ONGOING_REQUESTS = 10_000
# As long as its tiers: a router that is to go finishes the replies that pass through it.
_GRACEFUL_SHUTDOWN_S = 120.0
# Shown until the engine has been measured; a tier that is not running is never chosen.
_UNKNOWN_SPEED = LatencyProfile(0.05, 3e-4, 0.03, 5e-4)
# Set where an autoscaler brings nodes that are not there yet, as cluster/*.yaml do.
_WAIT_FOR_NODES = "TANDEM_WAIT_FOR_NODES"


def build(args: AppConfig) -> Application:
    """Builds the graph: one router in front, one deployment per tier behind it.

    Ray validates the file's `args` against `AppConfig` before it calls this, so a bad file never
    replaces a running application.

    Raises:
        RuntimeError: the cluster lacks what the tiers need, or others would be served without keys.
    """
    require_keys(args)
    require_resources(args)
    tiers = {spec.model_id: tier_deployment(_as_deployed(spec, args)) for spec in args.llm_configs}
    names = {spec.model_id: deployment_name(spec) for spec in args.llm_configs}
    handles: dict[str, Any] = {f"tier_{i}": tier for i, tier in enumerate(tiers.values())}
    if args.auth.is_on:
        handles["counters"] = _counters(args)
    options = {
        "name": "router",
        "max_ongoing_requests": _MAX_ONGOING_REQUESTS,
        "graceful_shutdown_timeout_s": _GRACEFUL_SHUTDOWN_S,
        "ray_actor_options": {"num_cpus": 0},
        # A router of an old version goes only when its successor serves.
        "max_surge_percent": 100,
        # Ours says more, in one line per request.
        "logging_config": {"enable_access_log": False},
        **args.ingress_deployment_config,
    }
    router = serve.deployment(Router, **router_options(options, args))
    return router.bind(args.model_dump(exclude_unset=True), tier_settings(args), names, **handles)


def _as_deployed(spec: TierSpec, config: AppConfig) -> TierSpec:
    """The tier with safe weights, and with our autoscaling where it scales."""
    accelerators = accelerators_per_replica(spec)
    return scaled_tier(with_safe_weights(spec), config.scaling, accelerators)


def require_keys(config: AppConfig) -> None:
    """Refuses to listen where others reach it without API keys.

    Raises:
        RuntimeError: names the host and what to do.
    """
    why_not = refusal(listening_host(), config.auth)
    if why_not is not None:
        raise RuntimeError(why_not)


def _counters(config: AppConfig) -> Application:
    """One replica: what all routers together admit is counted in one place."""
    options = {
        "name": "counters",
        "max_ongoing_requests": _MAX_ONGOING_REQUESTS,
        "ray_actor_options": {"num_cpus": 0},
        "logging_config": {"enable_access_log": False},
    }
    return serve.deployment(Counters, **options).bind(config.auth.spend)


def require_resources(config: AppConfig) -> None:
    """Refuses now what would otherwise wait for accelerators without a word.

    Raises:
        RuntimeError: names what is missing and what to run instead.
    """
    if os.environ.get(_WAIT_FOR_NODES) == "1":
        return
    missing = missing_resources(config, ray.cluster_resources())
    if missing:
        raise RuntimeError(" ".join(missing))


def tier_settings(config: AppConfig) -> dict[str, TierSettings]:
    """What routing is told of each tier, by its id."""
    return {
        spec.model_id: TierSettings(
            tier=spec.model_id,
            quality=spec.routing.quality,
            usd_per_hour=spec.routing.usd_per_hour,
            min_prompt_tokens=spec.routing.min_prompt_tokens,
            max_prompt_tokens=spec.routing.max_prompt_tokens,
            prior=size_tier(spec).profile or _UNKNOWN_SPEED,
        )
        for spec in config.llm_configs
    }
