"""A variant's name says how it is made and run."""

import re
from pathlib import Path

import pytest

from deployments.evaluation.variants import Variant, parse_variant
from deployments.weights.quantizing.plan import PER_CHANNEL, Backend, Method, Plan
from tests.unit.deployments.builders import a_model_folder


def parsed(text: str) -> Variant:
    return parse_variant(text, samples=8, sample_tokens=64, grid=4)


@pytest.mark.parametrize(("name", "dtype"), [
    ("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16"),
])  # fmt: skip
def test_a_number_format_runs_the_original_weights(name: str, dtype: str) -> None:
    assert parsed(name) == Variant(name, engine_kwargs={"dtype": dtype})


@pytest.mark.parametrize(("name", "plan"), [
    ("awq-g32", Plan(Method.awq, Backend.llm_compressor, 4, 32, 8, 64, 4)),
    ("autoawq-g64", Plan(Method.awq, Backend.autoawq, 4, 64, 8, 64, 4)),
    ("gptq-8bit-channel", Plan(Method.gptq, Backend.llm_compressor, 8, PER_CHANNEL, 8, 64, 4)),
    ("int8", Plan(Method.int8, Backend.llm_compressor, 8, PER_CHANNEL, 8, 64, 4)),
])  # fmt: skip
def test_a_quantization_is_planned_and_keeps_its_name(name: str, plan: Plan) -> None:
    assert parsed(name) == Variant(name, plan)
    assert plan.name == name


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = a_model_folder(tmp_path)
    assert parsed(f"mine={folder}") == Variant("mine", folder=folder)


def test_a_lever_is_added_to_how_the_variant_runs() -> None:
    found = parsed("fp32+fp8kv")
    assert found.name == "fp32+fp8kv"
    assert found.engine_kwargs == {"dtype": "float32", "kv_cache_dtype": "fp8"}


@pytest.mark.parametrize(
    "text", ["bf16+magic", "int8+", "int4", "awq", "awq-32", "autoawq-g", "q4_k_m"]
)
def test_a_name_that_means_nothing_is_refused_with_those_that_do(text: str) -> None:
    with pytest.raises(
        ValueError, match=rf"--variant {re.escape(text)}: must be fp32, .*NAME=FOLDER"
    ):
        parsed(text)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        parsed(f"mine={tmp_path}")
