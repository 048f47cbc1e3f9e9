"""Disk and memory are told before a quantization starts, from the headers of the weight files."""

from dataclasses import replace
from pathlib import Path

import pytest

from deployments.weights.quantizing.cost import Cost, TooLittleRoom, cost_of, refuse_too_little
from deployments.weights.quantizing.plan import Method, Plan
from deployments.weights.quantizing.weight_files import WeightFiles, read_weight_files
from tests.unit.deployments.builders import a_model_folder

LLAMA_2_70B = WeightFiles(68_450_000_000, 530_000_000, {8192, 28672}, 138_000_000_000)


def test_headers_say_what_can_be_quantized(tmp_path: Path) -> None:
    # When
    weights = read_weight_files(a_model_folder(tmp_path))

    # Then the embedding and the norm are kept
    assert weights.num_quantizable == 576 * 576 + 576 * 1536
    assert weights.num_kept == 100 * 576 + 576
    assert weights.input_sizes == {576, 1536}


def test_weights_that_are_quantized_already_are_refused(tmp_path: Path) -> None:
    config = {"quantization_config": {"quant_method": "awq"}}
    with pytest.raises(ValueError, match=r"quantized already \(awq\)"):
        read_weight_files(a_model_folder(tmp_path, config))


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, missing: str) -> None:
    (a_model_folder(tmp_path) / missing).unlink()
    with pytest.raises(ValueError, match="holds no"):
        read_weight_files(tmp_path)


def test_the_estimate_of_a_70b_model_is_what_its_checkpoint_has() -> None:
    # TheBloke's Llama-2-70B-chat-AWQ in groups of 128 has 36.6 GB.
    assert cost_of(Plan(group_size=128), LLAMA_2_70B).weights_bytes == pytest.approx(
        36.6e9, rel=0.02
    )


def test_smaller_groups_cost_more_disk_and_longer_samples_more_memory() -> None:
    plan = Plan(group_size=128)
    usual, small_groups, long_samples = (
        cost_of(p, LLAMA_2_70B)
        for p in (plan, replace(plan, group_size=32), replace(plan, sample_tokens=2048))
    )
    assert small_groups.disk_bytes > usual.disk_bytes
    assert long_samples.memory_bytes > usual.memory_bytes


def test_eight_bits_take_half_of_sixteen() -> None:
    cost = cost_of(Plan(Method.int8, bits=8), LLAMA_2_70B)
    assert cost.weights_bytes == pytest.approx(138e9 / 2, rel=0.01)


@pytest.mark.parametrize(("cost", "what"), [
    (Cost(0, 10**18, 0), "disk"), (Cost(0, 0, 10**18), "memory"),
])  # fmt: skip
def test_too_little_room_is_refused_before_it_starts(tmp_path: Path, cost: Cost, what: str) -> None:
    with pytest.raises(TooLittleRoom, match=f"GB of {what}"):
        refuse_too_little(cost, tmp_path / "not" / "there")
