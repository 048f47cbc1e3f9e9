"""The LiteLLM proxy, a peer that routes by latency, and two instant backends to stand behind it.

In an environment of its own under TANDEM_HOME: its pins and ours do not agree.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from deployments.weights.environments import (
    REQUIREMENTS,
    pinned_environment,
    pinned_release,
)
from serve_app.bench.client import Address
from serve_app.bench.processes import Command, serving

PINS = REQUIREMENTS / "litellm.txt"
_BACKEND = Path(__file__).with_name("instant_backend.py")


def version() -> str:
    """The release that the pins name."""
    return pinned_release(PINS, "litellm")


def install(home: Path) -> Path:
    """The Python that has LiteLLM, installed on first use; later calls cost nothing.

    Raises:
        ScriptFailed: when the installation fails. ValueError: when there is no `uv`.
    """
    return pinned_environment(home, "litellm", PINS, {"UV_COMPILE_BYTECODE": "1"})


@contextmanager
def instant_backends(addresses: Sequence[Address], folder: Path) -> Iterator[None]:
    """One process for each address."""
    with ExitStack() as stack:
        for address in addresses:
            arguments = (sys.executable, str(_BACKEND), str(address.port))
            backend = Command(arguments, {}, "/", folder / f"backend-{address.port}.log")
            stack.enter_context(serving(backend, address))
        yield


@contextmanager
def litellm_proxy(
    python: Path, address: Address, settings: Mapping[str, Any], folder: Path
) -> Iterator[Address]:
    """The proxy, with as many workers as Tandem has routers: one.

    Args:
        python: of the environment that `install` made.
        settings: its configuration file.
        folder: for its configuration and its log.

    Raises:
        ServerFailed: it did not start.
    """
    with serving(command(python, address, settings, folder), address) as ready:
        yield ready


def command(python: Path, address: Address, settings: Mapping[str, Any], folder: Path) -> Command:
    """How the proxy is started; its configuration file is written."""
    config = folder / "litellm.yaml"
    # JSON is YAML.
    config.write_text(json.dumps(settings, indent=2) + "\n")
    arguments = (
        str(python), str(python.with_name("litellm")), "--config", str(config),
        "--host", address.host, "--port", str(address.port), "--num_workers", "1",
    )  # fmt: skip
    # Its own advice for production, and a price list from its package, not from the network.
    environment = {
        "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": "",
        # Tandem is measured without API keys too.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }  # fmt: skip
    return Command(arguments, environment, "/health/liveliness", folder / "litellm.log")


def configuration(backends: Sequence[Address]) -> dict[str, Any]:
    """The proxy's file: one model, as many deployments of it as there are backends."""
    deployments = [
        {
            "model_name": "auto",
            "litellm_params": {
                "model": "openai/fake",
                "api_base": f"http://{host}:{port}/v1",
                "api_key": "none",
                # Without prices it looks for the reason on every request.
                "input_cost_per_token": 1e-7,
                "output_cost_per_token": 2e-7,
            },
        }
        for host, port in backends
    ]
    return {
        "model_list": deployments,
        "router_settings": {"routing_strategy": "latency-based-routing"},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
