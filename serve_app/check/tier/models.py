"""What shape a model has. Its source in, ModelShape or None out; never guesses, never downloads."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployments.local_models import resolve_source
from serve_app.routing.speed.prior import ModelShape

# From each model's config.json on Hugging Face; parameters as its safetensors count them.
_KNOWN = {
    r"zephyr-7b|mistral-7b": ModelShape(
        "mistral-7b", 7.242e9, 262.1e6, 32, 4096, kv_heads=8, head_dim=128, context_tokens=32768
    ),
    r"llama-2-7b": ModelShape(
        "llama-2-7b", 6.738e9, 262.1e6, 32, 4096, kv_heads=32, head_dim=128, context_tokens=4096
    ),
    r"llama-2-13b": ModelShape(
        "llama-2-13b", 13.016e9, 327.7e6, 40, 5120, kv_heads=40, head_dim=128, context_tokens=4096
    ),
    r"llama-2-70b": ModelShape(
        "llama-2-70b", 68.977e9, 524.3e6, 80, 8192, kv_heads=8, head_dim=128, context_tokens=4096
    ),
    r"smollm2-135m": ModelShape(
        "smollm2-135m", 134.5e6, 28.3e6, 30, 576, kv_heads=3, head_dim=64, context_tokens=8192
    ),
}
_SCALE_AND_ZERO_BITS = 16 + 4
_BITS_OF_DTYPE = {"float32": 32.0, "float16": 16.0, "bfloat16": 16.0}


def find_shape(source: str, engine_kwargs: dict[str, Any] | None = None) -> ModelShape | None:
    """Shape of a local folder's model, else of a model known by name, else None.

    >>> find_shape("TheBloke/Llama-2-70B-chat-AWQ").name
    'llama-2-70b'
    """
    folder = local_folder(source)
    if folder is not None:
        return _from_folder(folder)
    name = source.lower().replace("_", "-")
    # Not preceded or followed by a digit or letter: codellama-2-70b or llama-2-7bx are others.
    for pattern, shape in _KNOWN.items():
        if re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])", name):
            return _with_bits(shape, _bits_of_name(name, engine_kwargs or {}))
    return None


def local_folder(source: str) -> Path | None:
    """The folder that `source` names on this machine, when it holds a model."""
    try:
        folder = Path(str(resolve_source(source)))
    except ValueError:
        # `tandem check` reports it by its place in the file; no folder is all that counts here.
        return None
    return folder if (folder / "config.json").is_file() else None


def _bits_of_name(name: str, engine_kwargs: dict[str, Any]) -> float | None:
    if re.search(r"gguf|ggml|exl2|[-.]fp8|int8|w8a8|bnb|[-.]\d(?:\.\d+)?bpw", name):
        # Several widths go by these names, so the size cannot be told.
        return None
    if re.search(r"awq|gptq|w4a16|int4", name):
        return _quantized_bits(4, 128)
    return _BITS_OF_DTYPE.get(str(engine_kwargs.get("dtype", "bfloat16")), 16.0)


def _quantized_bits(bits: int, group: int) -> float:
    """Bits per weight with the group's scale and zero point; 4.16 for 4 bits in groups of 128."""
    return bits + (_SCALE_AND_ZERO_BITS / group if group > 0 else 0.0)


def _with_bits(shape: ModelShape, bits: float | None) -> ModelShape | None:
    return None if bits is None else replace(shape, bits_per_weight=bits)


def _from_folder(folder: Path) -> ModelShape | None:
    """Reads config.json; None when it does not look like a Llama-like decoder."""
    try:
        config = json.loads((folder / "config.json").read_text())
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads = int(config["num_attention_heads"])
        vocabulary, inner = int(config["vocab_size"]), int(config["intermediate_size"])
        context_tokens = int(config["max_position_embeddings"])
    except (KeyError, TypeError, ValueError):
        return None
    if any("expert" in key for key in config):
        # Mixtures of experts read only part of their weights per token.
        return None
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head_dim = int(config.get("head_dim") or hidden // heads)
    attention = 2 * hidden * head_dim * (heads + kv_heads)
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return ModelShape(
        folder.name, embeddings + layers * (attention + 3 * hidden * inner), embeddings,
        layers, hidden, kv_heads, head_dim, context_tokens,
        bits_per_weight=_bits_of_config(config),
        files_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")) or None,
    )  # fmt: skip


def _bits_of_config(config: dict[str, Any]) -> float:
    quantization = config.get("quantization_config") or {}
    if "bits" in quantization:
        return _quantized_bits(int(quantization["bits"]), int(quantization.get("group_size", 128)))
    for group in (quantization.get("config_groups") or {}).values():
        weights = group.get("weights") or {}
        if "num_bits" in weights:
            return _quantized_bits(int(weights["num_bits"]), int(weights.get("group_size") or 0))
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return _BITS_OF_DTYPE.get(dtype, 16.0)
