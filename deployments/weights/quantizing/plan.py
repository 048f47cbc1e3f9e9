"""What to do with a model's weights. Options in, Plan out; refuses what no engine would serve."""

from dataclasses import dataclass
from enum import StrEnum


class Method(StrEnum):
    """How weights become small.

    awq and gptq: integers with a scale per group, activations stay as they are. int8: weights and
    activations in 8 bits. fp8: the same in floating point.
    """

    awq = "awq"
    gptq = "gptq"
    int8 = "int8"
    fp8 = "fp8"


class Backend(StrEnum):
    llm_compressor = "llm-compressor"
    autoawq = "autoawq"


PER_CHANNEL = -1
_BITS = {Method.awq: (4,), Method.gptq: (4, 8), Method.int8: (8,), Method.fp8: (8,)}
_GROUPED = (Method.awq, Method.gptq)
# Those of vLLM's fast GPU kernels (MARLIN_SUPPORTED_GROUP_SIZES); wider ones fail on CPUs as well.
_GROUPS = (32, 64, 128)


class UnfitPlan(ValueError):
    """The options contradict each other or the model; the message says which to change."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to quantize.

    Args:
        bits: per weight. group_size: weights that share a scale; PER_CHANNEL for a whole row.
        samples: calibration texts at most. sample_tokens: tokens of each at most.
        grid: points of AWQ's search for the best scale; fewer is faster. AutoAWQ always takes 20.

    Raises:
        UnfitPlan: when no quantizer or no engine takes the combination.
    """

    method: Method = Method.awq
    backend: Backend = Backend.llm_compressor
    bits: int = 4
    group_size: int = 128
    samples: int = 128
    sample_tokens: int = 512
    grid: int = 20

    def __post_init__(self) -> None:
        if self.backend == Backend.autoawq and self.method != Method.awq:
            raise UnfitPlan(
                f"--backend autoawq makes AWQ only, not {self.method}; leave --backend out"
            )
        if self.bits not in _BITS[self.method]:
            valid = " or ".join(str(bits) for bits in _BITS[self.method])
            raise UnfitPlan(f"--bits {self.bits}: vLLM serves {self.method} with {valid} bits only")
        if self.is_grouped and self.group_size not in (*_GROUPS, PER_CHANNEL):
            raise UnfitPlan(
                f"--group-size {self.group_size}: vLLM serves {', '.join(map(str, _GROUPS))}, or "
                f"{PER_CHANNEL} for one scale per channel"
            )
        for name, value in (("samples", self.samples), ("sample-tokens", self.sample_tokens)):
            if value < 1:
                raise UnfitPlan(f"--{name} {value}: must be 1 or more")

    @property
    def is_grouped(self) -> bool:
        """Whether the group size means anything: int8 and fp8 have a scale per channel."""
        return self.method in _GROUPED

    @property
    def name(self) -> str:
        """Short, for tables and folders: `awq-g32`, `autoawq-g64`, `gptq-8bit-g128`, `int8`."""
        if not self.is_grouped:
            return str(self.method)
        word = self.backend if self.backend == Backend.autoawq else self.method
        bits = "" if self.bits == 4 else f"-{self.bits}bit"
        group = "channel" if self.group_size == PER_CHANNEL else f"g{self.group_size}"
        return f"{word}{bits}-{group}"


def default_bits(method: Method) -> int:
    """The width that each method is known for."""
    return 4 if method in _GROUPED else 8


def largest_group(input_sizes: set[int]) -> int:
    """The largest group size that divides every layer's input.

    >>> largest_group({576, 1536})
    64
    """
    return max(_dividing(input_sizes), default=PER_CHANNEL)


def refuse_unfit_group(plan: Plan, input_sizes: set[int]) -> None:
    """
    Raises:
        UnfitPlan: when the groups do not divide the inputs of every layer.
    """
    if not plan.is_grouped or plan.group_size == PER_CHANNEL:
        return
    odd = sorted(size for size in input_sizes if size % plan.group_size)
    if odd:
        valid = ", ".join(str(size) for size in [*_dividing(input_sizes), PER_CHANNEL])
        raise UnfitPlan(
            f"--group-size {plan.group_size} does not divide {odd[0]}, the input size of some "
            f"layers of this model; take one of {valid}"
        )


def refuse_without_kernel(plan: Plan, *, has_gpu: bool) -> None:
    """
    Raises:
        UnfitPlan: this machine's engine could not run the result, so nothing would judge it.
    """
    # vLLM 0.32's CPU kernel takes AWQ's zero points in groups only, and dies of others.
    if plan.method == Method.awq and plan.group_size == PER_CHANNEL and not has_gpu:
        groups = ", ".join(map(str, _GROUPS))
        raise UnfitPlan(
            f"--group-size {PER_CHANNEL}: vLLM's CPU engine serves AWQ in groups only; take one of "
            f"{groups}, or --method gptq"
        )


def _dividing(input_sizes: set[int]) -> list[int]:
    return [g for g in _GROUPS if all(size % g == 0 for size in input_sizes)]
