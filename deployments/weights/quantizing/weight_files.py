"""What is in a model folder, read from the headers of its safetensors files; loads no weights."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

_LENGTH_BYTES = 8
# Looked up by row or deciding between tokens: never quantized.
_KEPT = ("embed", "lm_head")


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Sizes of one model.

    num_quantizable: weights in layers that a quantizer changes. num_kept: all others.
    input_sizes: input widths of those layers. bytes_on_disk: of all weight files.
    """

    num_quantizable: int
    num_kept: int
    input_sizes: set[int]
    bytes_on_disk: int

    @property
    def num_weights(self) -> int:
        return self.num_quantizable + self.num_kept


def read_weight_files(folder: Path) -> WeightFiles:
    """
    Raises:
        ValueError: when the folder holds no safetensors, or weights that are quantized already.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} holds no *.safetensors files, so there is nothing to quantize")
    refuse_quantized(folder)
    quantizable = kept = 0
    inputs: set[int] = set()
    for name, shape in _tensors(files):
        if len(shape) == 2 and not any(word in name for word in _KEPT):
            quantizable += prod(shape)
            inputs.add(shape[1])
        else:
            kept += prod(shape)
    return WeightFiles(quantizable, kept, inputs, sum(file.stat().st_size for file in files))


def refuse_quantized(folder: Path) -> None:
    """
    Raises:
        ValueError: when the model's config says that it is quantized.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise ValueError(f"{folder} holds no config.json, so it is no model folder")
    quantization = json.loads(config.read_text()).get("quantization_config")
    if quantization:
        method = quantization.get("quant_method", "some method")
        raise ValueError(
            f"{folder} is quantized already ({method}); start from the weights it was made of"
        )


def _tensors(files: list[Path]) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of every tensor. The format: 8 bytes of length, then a JSON header."""
    for file in files:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(_LENGTH_BYTES), "little")
            header = json.loads(content.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                yield name, entry["shape"]
