"""vLLM's own OpenAI server on a tier's weights: what Tandem's cost is measured against."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from deployments.executor import IN_ONE_PROCESS, fits_one_process, num_workers
from deployments.local_models import resolve_source
from deployments.spec import TierSpec
from serve_app.bench.client import Address
from serve_app.bench.processes import Command, serving

# What Tandem does for its own engines on a CPU; vLLM's second process would slow these down.
_IN_ONE_PROCESS = ("--distributed-executor-backend", IN_ONE_PROCESS)


def bare_vllm(tier: TierSpec, address: Address, log: Path) -> AbstractContextManager[Address]:
    """The tier's engine behind vLLM's own server, with the same arguments and environment.

    Raises:
        ServerFailed: on entry, when it does not start.
    """
    return serving(command(tier, address, log), address)


def command(tier: TierSpec, address: Address, log: Path) -> Command:
    """How that server is started."""
    source = tier.model_loading_config.model_source or tier.model_id
    arguments = (
        # The `vllm` command does not know the CPU build by its name; the module does.
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(resolve_source(source)),
        "--served-model-name", tier.model_id,
        "--host", address.host, "--port", str(address.port),
        # It would cost the reference time.
        "--disable-uvicorn-access-log",
        *flags(tier.engine_kwargs),
        *(_IN_ONE_PROCESS if _fits_one_process(tier) else ()),
    )  # fmt: skip
    environment = dict((tier.runtime_env or {}).get("env_vars", {})) | {"HF_HUB_OFFLINE": "1"}
    return Command(arguments, environment, "/health", log)


def _fits_one_process(tier: TierSpec) -> bool:
    environment = (tier.runtime_env or {}).get("env_vars", {})
    is_on_cpu = (tier.accelerator_config or {}).get("kind") == "cpu"
    return is_on_cpu and fits_one_process(num_workers(tier.engine_kwargs), environment)


def flags(engine_kwargs: Mapping[str, Any]) -> list[str]:
    """Engine arguments as vLLM's command line takes them.

    >>> flags({"enforce_eager": True, "max_num_seqs": 16})
    ['--enforce-eager', '--max-num-seqs', '16']
    """
    words: list[str] = []
    for name, value in engine_kwargs.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
            continue
        words += [f"--{option}", str(value)]
    return words
