"""What quantizing a model will take: disk and memory, told and checked before it starts."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployments.weights.quantizing.plan import PER_CHANNEL, Plan
from deployments.weights.quantizing.weight_files import WeightFiles

_GB = 1e9
_BITS_KEPT = 16
# A group has a scale of 16 bits and, padded, a zero point of as many as a weight.
_SCALE_BITS = 16
# Beside the weights: Python, torch and one layer in 32 bits with its search.
_PROGRAM_BYTES = 1.5e9
_LAYER_COPIES = 1.25
_BYTES_PER_ACTIVATION = 4
# Inputs and outputs of the layer that is being worked on, for every calibration token.
_ACTIVATIONS_PER_TOKEN = 6


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes that a quantization needs. weights_bytes: of the result."""

    weights_bytes: int
    disk_bytes: int
    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"about {self.weights_bytes / _GB:.2f} GB of weights will come out; it needs "
            f"{self.disk_bytes / _GB:.2f} GB of disk and {self.memory_bytes / _GB:.1f} GB of memory"
        )


class TooLittleRoom(ValueError):
    """Disk or memory would run out; the message says which, and by how much."""


def cost_of(plan: Plan, weights: WeightFiles) -> Cost:
    """An upper estimate: memory holds the source's weights once and the result's once."""
    widest = max(weights.input_sizes, default=0)
    grouped = plan.is_grouped and plan.group_size != PER_CHANNEL
    group = plan.group_size if grouped else max(1, widest)
    bits = plan.bits + (_SCALE_BITS + plan.bits) / group
    result = int((weights.num_quantizable * bits + weights.num_kept * _BITS_KEPT) / 8)
    tokens = plan.samples * plan.sample_tokens
    activations = tokens * widest * _BYTES_PER_ACTIVATION * _ACTIVATIONS_PER_TOKEN
    memory = _PROGRAM_BYTES + _LAYER_COPIES * weights.bytes_on_disk + result + activations
    # Twice: a result that is kept for comparison lies beside the one that replaces it.
    return Cost(result, 2 * result, int(memory))


def refuse_too_little(cost: Cost, target: Path) -> None:
    """
    Raises:
        TooLittleRoom: the disk of `target` or this machine's memory is too small now.
    """
    existing = next(folder for folder in [target, *target.parents] if folder.exists())
    rooms = (
        ("disk", cost.disk_bytes, shutil.disk_usage(existing).free, f"free at {existing}"),
        ("memory", cost.memory_bytes, psutil.virtual_memory().available, "available"),
    )
    for what, needed, there, where in rooms:
        if needed > there:
            raise TooLittleRoom(
                f"quantizing needs {needed / _GB:.2f} GB of {what}, and {there / _GB:.2f} GB are "
                f"{where}; free some, or take fewer or shorter calibration samples"
            )
