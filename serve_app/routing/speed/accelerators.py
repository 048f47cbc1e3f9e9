"""Published figures of accelerators. A name in, a row out; pure data, nothing measured but CPU."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator as its maker describes it; GB are 10**9 bytes.

    dense_fp16_tflops: tensor cores without sparsity (datasheets print the double, with it).
    reads_quantized: weights stay small until they are in registers. On CPUs they are unpacked
    first: SmolLM2's AWQ twin makes 21 tokens/s where bf16 makes 28.
    """

    name: str
    memory_gb: float
    bandwidth_gb_s: float
    dense_fp16_tflops: float
    source: str
    as_of: str
    reads_quantized: bool = True


_ROWS: Final = (
    Accelerator("A6000", 48, 768, 154.8, "NVIDIA RTX A6000 datasheet", "2021"),
    Accelerator("A10G", 24, 600, 70, "AWS G5; baseten.co, A10 vs A10G", "2023"),
    Accelerator("L4", 24, 300, 121, "NVIDIA L4 datasheet", "2023"),
    Accelerator("L40S", 48, 864, 362, "NVIDIA L40S datasheet", "2023"),
    Accelerator("A100-40", 40, 1555, 312, "NVIDIA A100 40GB datasheet", "2020"),
    Accelerator("A100-80", 80, 2039, 312, "NVIDIA A100 80GB SXM datasheet", "2021-06"),
    Accelerator("H100", 80, 3350, 989, "NVIDIA H100 SXM datasheet", "2023"),
    Accelerator("H200", 141, 4800, 989, "NVIDIA H200 SXM datasheet", "2024"),
    # No datasheet helps here: fitted to SmolLM2-135M bf16 under vLLM, eager, on 2 cores of a
    # server CPU: 28 / 90 / 157 tokens/s at batch 1 / 4 / 16, 100 tokens of prompt in 0.14 s. Any
    # other CPU differs; the
    # measurement at start-up replaces it. Memory is a placeholder, a CPU tier shares its node's.
    Accelerator("CPU", 8, 10, 0.3, "fitted: SmolLM2-135M, vLLM eager, 2 cores", "2026-11", False),
)
ACCELERATORS: Final[dict[str, Accelerator]] = {row.name: row for row in _ROWS}
