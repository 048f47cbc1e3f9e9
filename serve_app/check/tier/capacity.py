"""What a file needs against what a cluster has. Config and resources in, sentences out; pure."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from deployments.spec import TierSpec
from serve_app.config import AppConfig

_INSTEAD = (
    "Add nodes that have them, or run `make up`: the same application with two small models on "
    "this machine's CPU."
)


def missing_resources(config: AppConfig, available: Mapping[str, float]) -> list[str]:
    """Which resources the file's smallest number of replicas needs and `available` lacks.

    Empty when everything fits. `available` is what `ray.cluster_resources()` says; a cluster that
    adds nodes by itself has less than it can get, so ask only where none does.

    >>> missing_resources(config, {"CPU": 2.0})[0]
    'zephyr-7b (1 replica x 1 GPU) and llama-2-70b-chat (1 replica x 2 GPU) need 3 GPU, ...'
    """
    needs = {tier.model_id: needed_resources(tier) for tier in config.llm_configs}
    names = sorted({name for need in needs.values() for name in need})
    sentences = []
    for name in names:
        per_tier = {tier: need[name] for tier, need in needs.items() if need.get(name)}
        total, has = sum(per_tier.values()), available.get(name, 0.0)
        # Ray counts in steps of 1/10000; a rounding error must not refuse a start.
        if total > has + 1e-6:
            sentences.append(_sentence(config, name, per_tier, has))
    return [*sentences, _INSTEAD] if sentences else []


def needed_resources(tier: TierSpec) -> dict[str, float]:
    """Resources of a tier's smallest number of replicas; empty for a fake tier or none."""
    if tier.fake is not None:
        return {}
    replicas = min_replicas(tier)
    return {name: amount * replicas for name, amount in resources_of_replica(tier).items()}


def min_replicas(tier: TierSpec) -> int:
    """Replicas that run before any load arrives."""
    deployment = tier.deployment_config
    autoscaling = deployment.get("autoscaling_config")
    if isinstance(autoscaling, dict):
        return int(autoscaling.get("initial_replicas") or autoscaling.get("min_replicas", 1))
    replicas = deployment.get("num_replicas")
    return replicas if isinstance(replicas, int) else 1


def accelerators_per_replica(tier: TierSpec) -> int:
    """Workers of one replica: tensor parallel times pipeline parallel."""
    sizes = (tier.engine_kwargs.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline"))
    tensor, pipeline = (size if isinstance(size, int) else 1 for size in sizes)
    return tensor * pipeline


def resources_of_replica(tier: TierSpec) -> dict[str, float]:
    """Ray resources of one replica, as `LLMServer.get_deployment_options` asks for them.

    The bundles of its workers; the replica actor's own resources come on top of the first.
    """
    total: defaultdict[str, float] = defaultdict(float)
    options = tier.deployment_config.get("ray_actor_options") or {}
    actor = {"CPU": options.get("num_cpus", 1), "GPU": options.get("num_gpus", 0)}
    for bundle in [*_bundles(tier), actor, options.get("resources") or {}]:
        for name, amount in bundle.items():
            total[name] += amount
    if tier.accelerator_type and not any(key.startswith("accelerator_type:") for key in total):
        # Ray adds a thousandth to each bundle; one is enough to see that such a node exists.
        total[f"accelerator_type:{tier.accelerator_type}"] = 1e-3
    return {name: amount for name, amount in total.items() if amount}


def _bundles(tier: TierSpec) -> list[dict[str, Any]]:
    group = tier.placement_group_config or {}
    workers = accelerators_per_replica(tier)
    if "bundle_per_worker" in group:
        return [group["bundle_per_worker"]] * workers
    if group.get("bundles"):
        return list(group["bundles"])
    kind = (tier.accelerator_config or {}).get("kind", "gpu")
    return [{str(kind).upper(): 1}] * workers


def _sentence(config: AppConfig, name: str, per_tier: dict[str, float], has: float) -> str:
    kind, _, accelerator_type = name.partition("accelerator_type:")
    if accelerator_type and not kind:
        return f"{' and '.join(per_tier)} asks for nodes with {accelerator_type}, there are none."
    replicas = {tier.model_id: min_replicas(tier) for tier in config.llm_configs}
    parts = [
        f"{tier} ({replicas[tier]} replica{'s' * (replicas[tier] != 1)} x "
        f"{amount / replicas[tier]:g} {name})"
        for tier, amount in per_tier.items()
    ]
    verb = "needs" if len(parts) == 1 else "need"
    found = f"has {has:g}" if has else "has none"
    total = sum(per_tier.values())
    return f"{' and '.join(parts)} {verb} {total:g} {name}, the cluster {found}."
