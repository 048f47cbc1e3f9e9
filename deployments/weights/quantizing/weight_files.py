"""What is in a model folder, read from the headers of its safetensors files; loads no weights."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

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
        ValueError: when the folder holds no safetensors, damaged ones, or weights that are
            quantized already.
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
    try:
        quantization = json.loads(config.read_text()).get("quantization_config") or {}
        method = quantization.get("quant_method", "some method")
    except (ValueError, AttributeError) as err:
        raise ValueError(f"{config} is no model's config ({err}); download it again") from err
    if quantization:
        raise ValueError(
            f"{folder} is quantized already ({method}); start from the weights it was made of"
        )


def _tensors(files: list[Path]) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of every tensor.

    The format: 8 bytes of length, a JSON header, then the weights where its offsets say.
    """
    for file in files:
        try:
            tensors, has_bytes = _header(file)
            needed_bytes = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
            shapes = [(name, entry["shape"]) for name, entry in tensors.items()]
        except (ValueError, LookupError, TypeError, AttributeError) as err:
            raise ValueError(
                f"{file} is no whole safetensors file; download it again, from a repository with "
                "`git lfs pull`"
            ) from err
        if has_bytes < needed_bytes:
            raise ValueError(
                f"{file} has {has_bytes:,} of {needed_bytes:,} bytes of weights; download it again"
            )
        yield from shapes


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The entries of all tensors, and how many bytes follow them.

    Raises:
        ValueError: the file does not begin as safetensors do.
    """
    with file.open("rb") as content:
        length = int.from_bytes(content.read(_LENGTH_BYTES), "little")
        # Before reading so much: whatever else begins a file is a huge number.
        has_bytes = file.stat().st_size - _LENGTH_BYTES - length
        if has_bytes < 0:
            raise ValueError(f"its header has {length:,} bytes")
        header = json.loads(content.read(length))
    return {name: entry for name, entry in header.items() if name != "__metadata__"}, has_bytes
