"""Damaged model folders are refused by name, before anything is installed or quantized."""

from pathlib import Path

import pytest

from deployments.weights.quantizing.weight_files import read_weight_files
from tests.unit.deployments.builders import a_model_folder

_LFS_POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 9942981696
"""


@pytest.mark.parametrize(
    "content",
    [b"", b"\x02", _LFS_POINTER, (4).to_bytes(8, "little") + b"[{}]"],
    ids=["empty", "cut in its length", "pointer of git-lfs", "no mapping"],
)
def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path, content: bytes) -> None:
    folder = a_model_folder(tmp_path)
    (folder / "model-2.safetensors").write_bytes(content)

    with pytest.raises(ValueError, match=r"model-2\.safetensors is no whole safetensors file"):
        read_weight_files(folder)


def test_weights_that_end_early_are_named(tmp_path: Path) -> None:
    folder = a_model_folder(tmp_path)
    file = folder / "model.safetensors"
    raw = file.read_bytes()[8:].replace(b'"data_offsets": [0, 0]', b'"data_offsets": [0, 9]')
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + b"half")

    with pytest.raises(ValueError, match=r"model\.safetensors .* 4 of 9 bytes of weights"):
        read_weight_files(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"quantization_config": "awq"}'])
def test_a_config_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    folder = a_model_folder(tmp_path)
    (folder / "config.json").write_text(text)

    with pytest.raises(ValueError, match=r"config\.json"):
        read_weight_files(folder)
