"""Adapters on a CPU touch no rows of the base model. Loaded by vLLM's workers, before the model.

A batch may hold rows of several adapters and of the base model, whose rows have adapter -1. vLLM's
GPU kernels skip those; its CPU kernels take -1 for the last adapter in memory, and so answer a
caller of the base model with what somebody's adapter learnt (0.32; pull request 48421 of vLLM).
"""

from collections.abc import Callable
from typing import Any

import torch
from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu

_KERNELS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")


class BaseRows:
    """Named as `worker_extension_cls`, so that every worker loads this module; adds nothing."""


def sparing_base_rows(kernel: Callable[..., None]) -> Callable[..., None]:
    """The kernel, adding nothing to rows without an adapter.

    Args:
        kernel: takes inputs (rows, width), weights, outputs (rows, ...) and an adapter per row.
    """

    def spared(
        inputs: torch.Tensor, weights: torch.Tensor, outputs: torch.Tensor,
        adapters: torch.Tensor, *args: Any, **kwargs: Any,
    ) -> None:  # fmt: skip
        is_base = (adapters < 0).unsqueeze(1)
        kernel(inputs.masked_fill(is_base, 0), weights, outputs, adapters, *args, **kwargs)

    return spared


for _name in _KERNELS:
    _spared = sparing_base_rows(getattr(lora_ops, _name))
    # The second one has imported them by name.
    for _module in (lora_ops, punica_cpu):
        setattr(_module, _name, _spared)
