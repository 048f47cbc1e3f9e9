"""Names of a model's variants. `awq-g32` in, how to make and to run it out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.weights.quantizing.plan import PER_CHANNEL, Backend, Method, Plan, default_bits

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# What changes the engine and not the weights; added to a name with `+`.
_LEVERS: Mapping[str, Mapping[str, Any]] = {"fp8kv": {"kv_cache_dtype": "fp8"}}
_PATTERN = re.compile(r"(awq|autoawq|gptq)(?:-(\d+)bit)?-(?:g(\d+)|(channel))")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a model.

    plan: how its weights are made of the original's; None: they are the original's, or those in
    `folder`. engine_kwargs: vLLM's, for this variant only.
    """

    name: str
    plan: Plan | None = None
    folder: Path | None = None
    engine_kwargs: Mapping[str, Any] = field(default_factory=dict)


def parse_variant(text: str, *, samples: int, sample_tokens: int, grid: int) -> Variant:
    """`fp32`, `bf16`, `fp16`, `int8`, `fp8`, `awq-g32`, `autoawq-g64`, `gptq-8bit-channel`, ...

    `+fp8kv` after a name keeps the KV cache in 8 bits. `NAME=FOLDER` exists already.

    Raises:
        ValueError: when it is none of these. UnfitPlan: when nothing can make it.
    """
    name, has_folder, folder = text.partition("=")
    if has_folder:
        if not (Path(folder) / "config.json").is_file():
            raise ValueError(f"--variant {text}: {folder} holds no config.json, so it is no model")
        return Variant(name, folder=Path(folder))
    weights, *levers = text.split("+")
    engine_kwargs = {k: v for lever in levers for k, v in _LEVERS.get(lever, {}).items()}
    if set(levers) <= _LEVERS.keys():
        if weights in _DTYPES:
            return Variant(text, engine_kwargs={"dtype": _DTYPES[weights], **engine_kwargs})
        plan = _plan(weights, samples, sample_tokens, grid)
        if plan is not None:
            return Variant(text, plan, engine_kwargs=engine_kwargs)
    raise ValueError(
        f"--variant {text}: must be fp32, bf16, fp16, int8, fp8, awq-g32, autoawq-g32, "
        "gptq-g32 (any group size, or `channel`), each also with +fp8kv, or NAME=FOLDER"
    )


def _plan(name: str, samples: int, sample_tokens: int, grid: int) -> Plan | None:
    """How a quantization of this name is made; None when it names none."""
    if name in (Method.int8, Method.fp8):
        kind, bits, group = name, None, None
    else:
        found = _PATTERN.fullmatch(name)
        if found is None:
            return None
        kind, bits, group, _ = found.groups()
    is_autoawq = kind == Backend.autoawq
    method = Method.awq if is_autoawq else Method(kind)
    return Plan(
        method,
        Backend.autoawq if is_autoawq else Backend.llm_compressor,
        int(bits) if bits else default_bits(method),
        int(group) if group else PER_CHANNEL,
        samples, sample_tokens, grid,
    )  # fmt: skip
