"""`tandem check` tells which engine arguments exclude each other before an engine starts."""

from pathlib import Path
from typing import Any

import pytest

from deployments.spec import TierSpec
from serve_app.check.tier.levers import Remark, lever_remarks
from tests.unit.deployments.builders import a_model_folder

ADAPTERS = {"dynamic_lora_loading_path": "/adapters", "max_num_adapters_per_replica": 4}
LORA = {"enable_lora": True, "max_loras": 4}


def a_tier(source: str = "zephyr-7b", lora: Any = None, **engine: Any) -> TierSpec:
    loading = {"model_id": "small", "model_source": source}
    return TierSpec.model_validate(
        {"model_loading_config": loading, "engine_kwargs": engine, "lora_config": lora}
    )


def remarks(tier: TierSpec) -> list[Remark]:
    return list(lever_remarks(tier))


@pytest.mark.parametrize("tier", [
    a_tier(), a_tier(tensor_parallel_size=2), a_tier(lora=ADAPTERS, **LORA),
    a_tier(lora=ADAPTERS, **LORA, kv_cache_dtype="fp8", tensor_parallel_size=2,
           speculative_config={"method": "ngram", "num_speculative_tokens": 4}),
])  # fmt: skip
def test_levers_that_go_together_pass(tier: TierSpec) -> None:
    assert remarks(tier) == []


def test_adapters_need_the_engine_to_know_of_them() -> None:
    (remark,) = remarks(a_tier(lora=ADAPTERS, max_loras=4))
    assert remark.path == ("lora_config",)
    assert "enable_lora: true" in remark.message


@pytest.mark.parametrize(("place", "reason"), [
    (None, "need a place"), ("$NO_SUCH_PLACE/adapters", "$NO_SUCH_PLACE is not set"),
])  # fmt: skip
def test_adapters_need_a_place_that_can_be_found(place: str | None, reason: str) -> None:
    lora = {"dynamic_lora_loading_path": place, "max_num_adapters_per_replica": 4}
    (remark,) = remarks(a_tier(lora=lora, **LORA))
    assert remark.path == ("lora_config", "dynamic_lora_loading_path")
    assert reason in remark.message


def test_an_engine_with_adapters_that_nobody_can_name_is_a_warning() -> None:
    (remark,) = remarks(a_tier(enable_lora=True))
    assert (remark.path[-1], remark.severity) == ("enable_lora", "warning")


def test_fewer_adapters_in_memory_than_running_are_refused() -> None:
    found = remarks(a_tier(lora=ADAPTERS, **LORA, max_cpu_loras=2))
    assert ("engine_kwargs", "max_cpu_loras") in [remark.path for remark in found]


def test_more_adapters_for_the_router_than_for_the_engine_are_a_warning() -> None:
    (remark,) = remarks(a_tier(lora=ADAPTERS, enable_lora=True, max_loras=2))
    assert remark.severity == "warning"
    assert "counts on 4 adapters per replica, but the engine keeps 2" in remark.message


@pytest.mark.parametrize(("gpus", "reason"), [(2, "9 attention heads"), (3, None)])
def test_gpus_must_divide_the_attention_heads(
    tmp_path: Path, gpus: int, reason: str | None
) -> None:
    folder = a_model_folder(tmp_path, {"num_attention_heads": 9})
    found = remarks(a_tier(str(folder), tensor_parallel_size=gpus))
    assert [reason in remark.message for remark in found if reason] == ([True] if reason else [])


@pytest.mark.parametrize("quantization", [
    {"quant_method": "awq", "bits": 4, "group_size": 128},
    {"config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128}}}},
])  # fmt: skip
def test_each_gpu_must_get_whole_groups(tmp_path: Path, quantization: dict[str, Any]) -> None:
    # Given an inner size of 11 groups
    config = {"num_attention_heads": 8, "intermediate_size": 1408,
              "quantization_config": quantization}  # fmt: skip
    folder = a_model_folder(tmp_path, config)

    # When it is split over two
    (remark,) = remarks(a_tier(str(folder), tensor_parallel_size=2))

    # Then
    assert "groups of 128" in remark.message
