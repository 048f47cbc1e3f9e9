"""How long one engine step takes, by what is in it. Counts in, seconds out; knows no queue."""

from dataclasses import dataclass
from typing import Final

# Shares of the published figures that kernels reach: 70 % of the bandwidth over a whole decode
# step, 55 % of the FLOPs in large matrix products, 35 % in attention. Chosen apart from the
# predictor's own constants in routing/prior.py, so that the simulator does not prove it right by
# construction.
_MEMORY_EFFICIENCY: Final = 0.7
_COMPUTE_EFFICIENCY: Final = 0.55
_ATTENTION_EFFICIENCY: Final = 0.35


@dataclass(frozen=True, slots=True)
class EngineTiming:
    """Time of one engine step: matrix products, then attention, then the host, in seconds.

    Matrix products read all weights (`weights_s`) and compute on every token of the step
    (`token_s` each), decode and prefill alike, so that a prefill slows the decodes that share its
    step. The two overlap: (memory^p + compute^p)^(1/p) with p = `roofline_sharpness`, which is
    their maximum as p grows (Williams et al., "Roofline", 2009, rounded at the ridge). Attention
    reads the cached context of every decoding sequence (`context_token_s` per token) and compares
    each prefill token with all before it (`pair_s` per pair). The host adds `host_s` for
    scheduling, launches and synchronization, `sequence_s` for each sequence in the step, and
    `prefill_s` when the step holds a prefill, whose shape no CUDA graph was captured for.

    log_noise: standard deviation of the logarithm of one step's time, mean 1. hiccups_per_step:
    how often a step is held up by a pause (garbage collection, a clock that drops) of `hiccup_s`
    on average, exponentially distributed.
    """

    weights_s: float
    token_s: float
    context_token_s: float = 0.0
    pair_s: float = 0.0
    host_s: float = 0.0
    sequence_s: float = 0.0
    prefill_s: float = 0.0
    roofline_sharpness: float = 4.0
    log_noise: float = 0.0
    hiccups_per_step: float = 0.0
    hiccup_s: float = 0.0

    def __post_init__(self) -> None:
        if self.weights_s + self.host_s <= 0.0:
            raise ValueError("A step takes time: weights_s or host_s must be above 0.")
        if self.hiccups_per_step and self.hiccup_s <= 0.0:
            raise ValueError("hiccup_s must be above 0 when there are hiccups.")

    def fixed_s(self, decodes: int, prefills: int = 0, prefill_tokens: int = 0) -> float:
        """Seconds of a step over so many sequences, all but attention."""
        memory_s, compute_s = self.weights_s, (decodes + prefill_tokens) * self.token_s
        longer_s, shorter_s = max(memory_s, compute_s), min(memory_s, compute_s)
        p = self.roofline_sharpness
        # The longer one is taken out of the root: powers of milliseconds underflow.
        products_s: float = longer_s
        if shorter_s:
            products_s *= (1.0 + (shorter_s / longer_s) ** p) ** (1.0 / p)
        host_s = self.host_s + (decodes + prefills) * self.sequence_s
        return products_s + host_s + (self.prefill_s if prefills else 0.0)


def from_roofline(
    *,
    weights_gb: float,
    parameters: float,
    kv_bytes_per_token: float,
    layers: int,
    hidden: int,
    bandwidth_gb_s: float,
    tflops: float,
    host_s: float = 0.002,
    sequence_s: float = 20e-6,
    prefill_s: float = 0.003,
    log_noise: float = 0.03,
    hiccups_per_step: float = 1e-4,
    hiccup_s: float = 0.1,
) -> EngineTiming:
    """The timing of a decoder-only transformer on one accelerator, from published figures.

    2 FLOPs per parameter and token; attention 4 x hidden x layers FLOPs per pair of tokens (Pope
    et al., "Efficiently Scaling Transformer Inference", 2022). GB are 10**9 bytes, `tflops` dense
    16-bit. Host times are of vLLM v1 with CUDA graphs, an order of magnitude, not a measurement.
    """
    bytes_per_s = bandwidth_gb_s * 1e9 * _MEMORY_EFFICIENCY
    flops_per_s = tflops * 1e12
    return EngineTiming(
        weights_s=weights_gb * 1e9 / bytes_per_s,
        token_s=2 * parameters / (flops_per_s * _COMPUTE_EFFICIENCY),
        context_token_s=kv_bytes_per_token / bytes_per_s,
        pair_s=4 * hidden * layers / (flops_per_s * _ATTENTION_EFFICIENCY),
        host_s=host_s,
        sequence_s=sequence_s,
        prefill_s=prefill_s,
        log_noise=log_noise,
        hiccups_per_step=hiccups_per_step,
        hiccup_s=hiccup_s,
    )


# Shapes: the models' config.json (80 layers of 8192 and 32 of 4096; 8 KV heads of 128 each, keys
# and values in 2 bytes). Weights: the size of the AWQ files, and 7.24e9 parameters in 2 bytes.
# Accelerators: NVIDIA's datasheets, as in routing/accelerators.py.
LLAMA_70B_AWQ_A100: Final = from_roofline(
    weights_gb=36.6,
    parameters=69e9,
    kv_bytes_per_token=80 * 8 * 128 * 2 * 2,
    layers=80,
    hidden=8192,
    bandwidth_gb_s=2039,
    tflops=312,
)
ZEPHYR_7B_A6000: Final = from_roofline(
    weights_gb=14.5,
    parameters=7.24e9,
    kv_bytes_per_token=32 * 8 * 128 * 2 * 2,
    layers=32,
    hidden=4096,
    bandwidth_gb_s=768,
    tflops=154.8,
)
