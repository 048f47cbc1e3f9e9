"""Names of a model's variants. `awq-g32` in, how to make and to run it out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.weights.quantizing.plan import PER_CHANNEL, Backend, Method, Plan, default_bits

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
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

    `NAME=FOLDER` is a model that exists already.

    Raises:
        ValueError: when it is none of these. UnfitPlan: when nothing can make it.
    """
    name, has_folder, folder = text.partition("=")
    if has_folder:
        if not (Path(folder) / "config.json").is_file():
            raise ValueError(f"--variant {text}: {folder} holds no config.json, so it is no model")
        return Variant(name, folder=Path(folder))
    if name in _DTYPES:
        return Variant(name, engine_kwargs={"dtype": _DTYPES[name]})
    if name in (Method.int8, Method.fp8):
        method = Method(name)
        plan = Plan(method, Backend.llm_compressor, default_bits(method),
                    PER_CHANNEL, samples, sample_tokens, grid)  # fmt: skip
        return Variant(name, plan)
    found = _PATTERN.fullmatch(name)
    if found is None:
        raise ValueError(
            f"--variant {text}: must be fp32, bf16, fp16, int8, fp8, awq-g32, autoawq-g32, "
            "gptq-g32 (any group size, or `channel`), or NAME=FOLDER"
        )
    kind, bits, group, _ = found.groups()
    backend = Backend.autoawq if kind == Backend.autoawq else Backend.llm_compressor
    method = Method.awq if kind == Backend.autoawq else Method(kind)
    width = int(bits) if bits else default_bits(method)
    size = int(group) if group else PER_CHANNEL
    plan = Plan(method, backend, width, size, samples, sample_tokens, grid)
    return Variant(name, plan)
