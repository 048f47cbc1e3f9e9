"""A script: quantizes a model folder with llm-compressor, the quantizer of the vLLM project.

Run as `python deployments/weights/quantizing/llm_compressor.py MODEL TARGET TEXT PLAN` by the
Python of an environment made from requirements/quantize.txt: llm-compressor and vLLM's CPU build
need different compressed-tensors, so they cannot share one. What it writes, both read.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

# The output layer stays whole: it decides between tokens, and tied weights cannot be packed.
_KEPT = ["lm_head"]
_SMOOTHING = 0.8


def quantize(source: Path, target: Path, texts: list[str], plan: dict[str, Any]) -> None:
    """Writes weights and config of the quantized `source` into `target`; see `plan.Plan`."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    samples = calibration(source, texts, plan["sample_tokens"])
    oneshot(model=model, dataset=DataLoader(samples, batch_size=None), recipe=recipe(plan))
    model.save_pretrained(target, save_compressed=True)


def recipe(plan: dict[str, Any]) -> list[Any]:
    """llm-compressor's modifiers, in order."""
    method = plan["method"]
    if method == "fp8":
        # Weights by rounding, activations at run time: nothing to calibrate.
        return [QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=_KEPT)]
    if method == "int8":
        # Outliers of the activations move into the weights first; 8 bits cannot hold them.
        return [
            SmoothQuantModifier(smoothing_strength=_SMOOTHING),
            QuantizationModifier(targets="Linear", scheme="W8A8", ignore=_KEPT),
        ]
    groups = {"linear": QuantizationScheme(targets=["Linear"], weights=weights(plan))}
    if method == "gptq":
        return [GPTQModifier(config_groups=groups, ignore=_KEPT)]
    return [
        AWQModifier(n_grid=plan["grid"]),
        QuantizationModifier(config_groups=groups, ignore=_KEPT),
    ]


def weights(plan: dict[str, Any]) -> QuantizationArgs:
    """Integers in groups, with a zero point for AWQ and without for GPTQ, as vLLM expects them."""
    is_grouped = plan["group_size"] > 0
    return QuantizationArgs(
        num_bits=plan["bits"],
        type="int",
        symmetric=plan["method"] != "awq",
        strategy="group" if is_grouped else "channel",
        group_size=plan["group_size"] if is_grouped else None,
    )


def calibration(source: Path, texts: list[str], num_tokens: int) -> list[dict[str, torch.Tensor]]:
    """Each text as token ids, cut to `num_tokens`, a batch of one."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    return [
        dict(tokenizer(text, truncation=True, max_length=num_tokens, return_tensors="pt"))
        for text in texts
    ]


def leave_memory_unpinned() -> None:
    """Turns page-locking into a no-op: without an accelerator torch refuses it, and 0.14 asks."""
    if not torch.accelerator.is_available():
        torch.Tensor.pin_memory = lambda tensor: tensor


if __name__ == "__main__":
    leave_memory_unpinned()
    model_folder, target_folder, texts_file, options = sys.argv[1:]
    quantize(
        Path(model_folder), Path(target_folder), json.loads(Path(texts_file).read_text()),
        json.loads(options),
    )  # fmt: skip
