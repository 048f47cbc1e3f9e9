"""Ray Serve LLM's own application over the same tiers: its Serve file, and when it is ready."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from deployments.local_models import resolve_source
from serve_app.bench.client import Address
from serve_app.bench.processes import ServerFailed

_IMPORT_PATH = "ray.serve.llm:build_openai_app"
_PATIENCE_S = 300.0
_POLL_S = 1.0


def ray_serve_llm(content: Mapping[str, Any], address: Address) -> dict[str, Any]:
    """The Serve file with Ray's application in place of ours: same engines, nothing of ours.

    One process parses HTTP, as with Tandem. It reserves no core: the engines have them all.
    """
    (ours,) = content["applications"]
    configs = [_without_ours(config) for config in ours["args"]["llm_configs"]]
    _bind_threads(configs)
    ingress = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0}}
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": address.host, "port": address.port},
        "applications": [
            {
                "name": "ray-serve-llm",
                "route_prefix": "/",
                "import_path": _IMPORT_PATH,
                "args": {"llm_configs": configs, "ingress_deployment_config": ingress},
            }
        ],
    }


def wait_until_it_answers(
    address: Address,
    models: Sequence[str],
    is_alive: Callable[[], bool],
    log_end: Callable[[], str],
) -> None:
    """Returns once every model has written a token.

    Raises:
        ServerFailed: it ended, or did not answer in time; the message has the end of its log.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if not is_alive():
            raise ServerFailed(f"{log_end()}\nRay Serve LLM ended before it was ready")
        if all(_writes(address, model) for model in models):
            return
        time.sleep(_POLL_S)
    raise ServerFailed(f"{log_end()}\nRay Serve LLM was not ready after {_PATIENCE_S:.0f} s")


def _without_ours(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = copy.deepcopy({key: value for key, value in config.items() if key != "routing"})
    loading = kept["model_loading_config"]
    source = loading.get("model_source") or loading["model_id"]
    loading["model_source"] = str(resolve_source(source))
    return kept


def _bind_threads(configs: Sequence[dict[str, Any]]) -> None:
    """Gives each CPU tier cores of its own: Ray has vLLM bind them, by default all to the same."""
    first = 0
    for config in configs:
        environment = config.get("runtime_env", {}).get("env_vars", {})
        threads = int(environment.get("OMP_NUM_THREADS", 0))
        if threads and "VLLM_CPU_OMP_THREADS_BIND" not in environment:
            last = first + threads - 1
            environment["VLLM_CPU_OMP_THREADS_BIND"] = (
                f"{first}" if threads == 1 else f"{first}-{last}"
            )
            first = last + 1


def _writes(address: Address, model: str) -> bool:
    message = {"role": "user", "content": "Say yes."}
    body = {"model": model, "messages": [message], "max_tokens": 1}
    url = f"http://{address.host}:{address.port}/v1/chat/completions"
    try:
        return httpx.post(url, json=body, timeout=30.0).status_code == 200
    except httpx.HTTPError:
        return False
