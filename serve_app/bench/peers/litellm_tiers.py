"""LiteLLM's file for tiers of different quality: routed by latency, with fallbacks. Data only."""

from collections.abc import Mapping
from typing import Any

from serve_app.bench.client import Address

AUTO = "auto"
# What the deployment of a tier's own group is called, after the tier.
ALONE = "-alone"
# From its guide to latency-based routing: samples count for ten seconds, and whoever is within
# half of the fastest takes part, so that not every request of a burst goes to the same server.
_ROUTING = {"ttl": 10, "lowest_latency_buffer": 0.5}
_TIMEOUT_S = 120


def tiered(backends: Mapping[str, Address]) -> dict[str, Any]:
    """One group of all tiers, which is routed, and a group of each, to fall back on.

    Args:
        backends: where each tier's OpenAI server listens, by the model that it serves.
    """
    groups = [(AUTO, model) for model in backends] + [(model, model) for model in backends]
    return {
        "model_list": [_deployment(group, model, backends[model]) for group, model in groups],
        "router_settings": {
            "routing_strategy": "latency-based-routing",
            "routing_strategy_args": _ROUTING,
            "fallbacks": [{AUTO: list(backends)}],
            "num_retries": 2,
            "timeout": _TIMEOUT_S,
        },
        "litellm_settings": {"telemetry": False, "request_timeout": _TIMEOUT_S},
    }


def _deployment(group: str, model: str, address: Address) -> dict[str, Any]:
    return {
        "model_name": group,
        "litellm_params": {
            # vLLM's own adapter, which passes parameters on that OpenAI does not know.
            "model": f"hosted_vllm/{model}",
            "api_base": f"http://{address.host}:{address.port}/v1",
            "api_key": "none",
            # Without prices it looks for the reason on every request.
            "input_cost_per_token": 1e-7,
            "output_cost_per_token": 2e-7,
        },
        # Comes back in a header: the body of its replies names the group.
        "model_info": {"id": model if group == AUTO else f"{model}{ALONE}"},
    }
