"""A script: makes the AWQ 4-bit twin of a model folder, with llm-compressor.

Run as `python deployments/weights/quantize.py MODEL TARGET` by the Python of an environment made
from requirements/quantize.txt: llm-compressor and vLLM's CPU build need different
compressed-tensors, so they cannot share one. What it writes, both read.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

CALIBRATION = Path(__file__).with_name("calibration.txt")
SAMPLE_TOKENS = 64


def quantize(source: Path, target: Path) -> None:
    """Writes the 4-bit twin of the folder `source`, tokenizer included, into `target`."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    oneshot(model=model, dataset=DataLoader(samples(source), batch_size=None), recipe=recipe())
    model.save_pretrained(target, save_compressed=True)
    # Copied, not saved again: sampling left its cut at SAMPLE_TOKENS in the tokenizer's state.
    for file in [*source.glob("tokenizer*"), *source.glob("chat_template*")]:
        shutil.copy2(file, target)


def recipe() -> list[Any]:
    """AWQ with a coarse search, then 4-bit asymmetric weights in groups of 32.

    Measured on SmolLM2-135M: groups of 64 took ten times as long for worse text, and its hidden
    size of 576 does not divide into groups of 128.
    """
    weights = QuantizationArgs(
        num_bits=4, type="int", symmetric=False, strategy="group", group_size=32
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    return [
        AWQModifier(n_grid=4),
        QuantizationModifier(config_groups={"linear": scheme}, ignore=["lm_head"]),
    ]


def samples(source: Path) -> list[dict[str, torch.Tensor]]:
    """The lines of calibration.txt as token ids, each cut to SAMPLE_TOKENS, a batch of one."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    return [
        dict(tokenizer(line, truncation=True, max_length=SAMPLE_TOKENS, return_tensors="pt"))
        for line in CALIBRATION.read_text().splitlines()
    ]


def leave_memory_unpinned() -> None:
    """Turns page-locking into a no-op: without an accelerator torch refuses it, and 0.14 asks."""
    if not torch.accelerator.is_available():
        torch.Tensor.pin_memory = lambda tensor: tensor


if __name__ == "__main__":
    leave_memory_unpinned()
    quantize(Path(sys.argv[1]), Path(sys.argv[2]))
