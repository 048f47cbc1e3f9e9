"""Which engine arguments of a tier exclude or weaken each other. A TierSpec in, remarks out.

Only what vLLM itself refuses late, at the engine's start or at the first call of an adapter, or
silently does badly; what is merely slower is measured with `tandem compare`, not guessed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from deployments.local_models import resolve_source
from deployments.spec import TierSpec
from serve_app.check.tier.models import local_folder

# vLLM's own default of max_loras.
_DEFAULT_MAX_LORAS = 1
# Ray Serve LLM's own default of max_num_adapters_per_replica.
_DEFAULT_ADAPTERS = 16


@dataclass(frozen=True, slots=True)
class Remark:
    """path: keys from the tier's entry in `llm_configs`."""

    path: tuple[str, ...]
    message: str
    severity: Literal["error", "warning"] = "error"


def lever_remarks(tier: TierSpec) -> Iterator[Remark]:
    """Everything that is wrong with the combination of this tier's levers."""
    yield from _adapters(tier)
    yield from _tensor_parallel(tier)


def _adapters(tier: TierSpec) -> Iterator[Remark]:
    engine = tier.engine_kwargs
    is_on = bool(engine.get("enable_lora"))
    if tier.lora_config is None:
        if is_on:
            message = "adapters are on, but without lora_config no call can name one; add it"
            yield Remark(("engine_kwargs", "enable_lora"), message, "warning")
        return
    if tier.fake is None and not is_on:
        message = "adapters need engine_kwargs.enable_lora: true; vLLM would refuse the first one"
        yield Remark(("lora_config",), message)
    yield from _adapters_place(tier)
    slots = int(engine.get("max_loras") or _DEFAULT_MAX_LORAS)
    kept = int(engine.get("max_cpu_loras") or slots)
    if kept < slots:
        message = f"{kept} is less than max_loras, {slots}; every running adapter is kept in memory"
        yield Remark(("engine_kwargs", "max_cpu_loras"), message)
    listed = int(tier.lora_config.get("max_num_adapters_per_replica", _DEFAULT_ADAPTERS))
    if tier.fake is None and listed > kept:
        message = (
            f"the router counts on {listed} adapters per replica, but the engine keeps {kept} "
            "(max_cpu_loras, else max_loras) and reads the others from disk again; make them equal"
        )
        yield Remark(("lora_config", "max_num_adapters_per_replica"), message, "warning")


def _adapters_place(tier: TierSpec) -> Iterator[Remark]:
    here = ("lora_config", "dynamic_lora_loading_path")
    if not (tier.lora_config or {}).get(here[-1]):
        yield Remark(here, "adapters need a place that they are loaded from: a folder, or s3://...")
        return
    try:
        resolve_source(tier.adapters_folder)
    except ValueError as err:
        yield Remark(here, str(err).partition(": ")[2])


def _tensor_parallel(tier: TierSpec) -> Iterator[Remark]:
    """What must divide evenly over the GPUs; known for models that are on this machine."""
    size = int(tier.engine_kwargs.get("tensor_parallel_size") or 1)
    source = tier.model_loading_config.model_source or tier.model_id
    folder = local_folder(source) if size > 1 and isinstance(source, str) else None
    if folder is None:
        return
    config = json.loads((folder / "config.json").read_text())
    here = ("engine_kwargs", "tensor_parallel_size")
    heads = config.get("num_attention_heads")
    if isinstance(heads, int) and heads % size:
        yield Remark(here, f"{size} does not divide the model's {heads} attention heads")
    inner, group = config.get("intermediate_size"), _group_size(config)
    if isinstance(inner, int) and group is not None and (inner % size or inner // size % group):
        message = (
            f"each of {size} GPUs would get {inner / size:g} rows of a layer quantized in groups "
            f"of {group}; take a size that leaves whole groups, or smaller groups"
        )
        yield Remark(here, message)


def _group_size(config: dict[str, Any]) -> int | None:
    """Of AutoAWQ's and GPTQ's format or of compressed-tensors; None without groups."""
    quantization = config.get("quantization_config") or {}
    groups = [quantization.get("group_size")]
    groups += [
        (group.get("weights") or {}).get("group_size")
        for group in (quantization.get("config_groups") or {}).values()
    ]
    sizes = [size for size in groups if isinstance(size, int) and size > 0]
    return max(sizes, default=None)
