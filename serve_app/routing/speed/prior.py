"""Speed of a model on an accelerator, from published figures. Shapes in, LatencyProfile out.

Used until an engine has measured itself. Against splitwise-sim's medians of Llama-2-70B fp16 on
A100 and H100 (2023 engine, tensor parallel 2 to 8) the decode step is off by 9 % in the median
and 33 % at worst, prefill by 21 % and 58 %: good enough to tell impossible from easy.
"""

import math
from dataclasses import dataclass
from typing import Final

from serve_app.routing.latency import LatencyProfile
from serve_app.routing.speed.accelerators import Accelerator

# Share of the published bandwidth that a decode step's weight reads reach: copies reach 0.9,
# kernels over many small matrices less.
MEMORY_EFFICIENCY: Final = 0.8
# Share of the published FLOPs that prefill reaches: 0.6 on an A100 with TP 2, 0.3 on an H100 with
# TP 8 in the same measurements; this is their middle.
COMPUTE_EFFICIENCY: Final = 0.45
# Two all-reduces per layer, latency-bound and a tree over the GPUs. The measured engine had no
# CUDA graphs, so newer ones are faster and the prior errs on the slow side for TP > 1.
SYNC_S_PER_LAYER_AND_DOUBLING: Final = 120e-6
# A sequence half way through the founding case: 512 prompt tokens and half of 313.
_CONTEXT_TOKENS: Final = 669
_KV_BYTES_PER_VALUE: Final = 2


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory and speed of a decoder-only transformer depend on.

    embedding_parameters: input and output embeddings, which quantizers leave in 16 bits.
    bits_per_weight: of all others, scales and zero points included. files_bytes: size of the weight
    files when they were seen; None derives it.
    """

    name: str
    parameters: float
    embedding_parameters: float
    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    context_tokens: int
    bits_per_weight: float = 16.0
    files_bytes: float | None = None

    @property
    def weights_bytes(self) -> float:
        if self.files_bytes is not None:
            return self.files_bytes
        quantized = (self.parameters - self.embedding_parameters) * self.bits_per_weight / 8
        full = self.embedding_parameters * max(2.0, self.bits_per_weight / 8)
        return quantized + full

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values of one token in 16 bits, over all layers."""
        return 2.0 * self.layers * self.kv_heads * self.head_dim * _KV_BYTES_PER_VALUE


def prior_profile(
    model: ModelShape, accelerator: Accelerator, tensor_parallel: int
) -> LatencyProfile:
    """Roofline of one replica on `tensor_parallel` accelerators, in seconds.

    A decode step reads all weights once, then each sequence's KV, and computes 2 FLOPs per
    parameter and sequence; a prompt token costs the same FLOPs (Pope et al., "Efficiently
    Scaling Transformer Inference", 2022), and attention 4 x layers x hidden per pair of tokens. A
    prefill reads the weights once as well.
    """
    bytes_per_s = accelerator.bandwidth_gb_s * 1e9 * MEMORY_EFFICIENCY * tensor_parallel
    flops_per_s = accelerator.dense_fp16_tflops * 1e12 * COMPUTE_EFFICIENCY * tensor_parallel
    sync_s = SYNC_S_PER_LAYER_AND_DOUBLING * model.layers * math.log2(tensor_parallel)
    token_s = 2 * model.parameters / flops_per_s
    full_bytes = max(model.weights_bytes, model.parameters * 2)
    read_bytes = model.weights_bytes if accelerator.reads_quantized else full_bytes
    step_base_s = read_bytes / bytes_per_s + sync_s
    return LatencyProfile(
        prefill_base_s=step_base_s,
        prefill_per_token_s=token_s,
        step_base_s=step_base_s,
        step_per_sequence_s=token_s + _CONTEXT_TOKENS * model.kv_bytes_per_token / bytes_per_s,
        # Each token is compared with those before it: on average half the prompt.
        prefill_per_token2_s=2 * model.layers * model.hidden / flops_per_s,
    )
