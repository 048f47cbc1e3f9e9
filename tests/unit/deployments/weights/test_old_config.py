"""AutoAWQ's transformers 4.51 must read the model that transformers 5 wrote, not another one."""

import json
from pathlib import Path

import pytest

from deployments.weights.quantizing.old_config import for_transformers_4, link_for_transformers_4
from tests.unit.deployments.builders import a_model_folder


def test_the_old_config_says_the_same_with_old_words() -> None:
    # Given what transformers 5 writes
    rope = {"rope_theta": 1e5, "rope_type": "llama3", "factor": 8.0}
    new = {"hidden_size": 576, "dtype": "bfloat16", "rope_parameters": rope}

    # When
    old = for_transformers_4(new)

    # Then transformers 4.51 finds each of it
    assert old["rope_theta"] == 1e5
    assert old["rope_scaling"] == {"rope_type": "llama3", "factor": 8.0}
    assert old["torch_dtype"] == "bfloat16"
    assert old["hidden_size"] == 576
    assert not {"rope_parameters", "dtype"} & old.keys()


def test_a_config_that_old_words_cannot_say_is_refused() -> None:
    per_kind = {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    with pytest.raises(ValueError, match="--backend llm-compressor"):
        for_transformers_4({"rope_parameters": per_kind})


def test_a_linked_folder_reads_through_to_the_weights(tmp_path: Path) -> None:
    # Given
    source = a_model_folder(tmp_path / "new", {"rope_parameters": {"rope_theta": 1e5}})
    linked = tmp_path / "old"
    linked.mkdir()

    # When
    link_for_transformers_4(source, linked)

    # Then
    assert (linked / "model.safetensors").read_bytes() == (
        source / "model.safetensors"
    ).read_bytes()
    assert json.loads((linked / "config.json").read_text()) == {"rope_theta": 1e5}
