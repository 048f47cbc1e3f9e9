import json
from pathlib import Path

import pytest

from serve_app.check.file.document import parse
from serve_app.check.file.serve_file import CheckedFile, check_text
from serve_app.check.report import as_dict, make_report
from serve_app.check.tier.models import find_shape
from serve_app.check.tier.sizing import judge_classes, size_tier
from tests.unit.check.builders import SmallLibraries, a_config, a_tier

LLAMA_AWQ = "TheBloke/Llama-2-70B-chat-AWQ"


@pytest.mark.parametrize(
    ("source", "gigabytes"),
    [
        (LLAMA_AWQ, 36.6),
        ("meta-llama/Llama-2-70b-chat-hf", 138.0),
        ("TheBloke/zephyr-7B-beta-AWQ", 4.15),
        ("mistralai/Mistral-7B-Instruct-v0.2", 14.5),
    ],
)
def test_a_known_model_has_the_size_of_its_published_files(source: str, gigabytes: float) -> None:
    shape = find_shape(source)

    assert shape is not None
    assert shape.weights_bytes / 1e9 == pytest.approx(gigabytes, rel=0.01)


@pytest.mark.parametrize("source", ["acme/secret-9b", "codellama-2-70b", "zephyr-7b-GGUF"])
def test_an_unknown_model_is_not_guessed(source: str) -> None:
    assert find_shape(source) is None


def test_a_local_folder_is_read_from_its_config_and_files(tmp_path: Path) -> None:
    # Given a folder whose name says nothing
    config = {
        "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "intermediate_size": 1536,
        "max_position_embeddings": 8192, "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)

    shape = find_shape(str(tmp_path))

    assert shape is not None
    assert shape.weights_bytes == 1000
    assert shape.parameters == pytest.approx(134.5e6, rel=0.01)


@pytest.mark.parametrize("text", ["{", "", "[]"])
def test_a_folder_whose_config_cannot_be_read_is_not_guessed(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)

    assert find_shape(str(tmp_path)) is None


def test_weights_that_do_not_fit_are_a_problem() -> None:
    (tier,) = a_config(a_tier(LLAMA_AWQ, "A10G")).llm_configs

    assert "leave no memory" in str(size_tier(tier).problem)


def test_tensor_parallel_splits_the_weights() -> None:
    kwargs = {"tensor_parallel_size": 2}
    (tier,) = a_config(a_tier(LLAMA_AWQ, "A100-80", engine_kwargs=kwargs)).llm_configs

    size = size_tier(tier)

    assert size.problem is None
    assert size.weights_bytes == pytest.approx(18.3e9, rel=0.01)


def test_a_context_longer_than_the_kv_cache_is_a_problem() -> None:
    kwargs = {"max_model_len": 32768}
    (tier,) = a_config(a_tier(LLAMA_AWQ, "A6000", engine_kwargs=kwargs)).llm_configs

    assert "max_model_len 32768" in str(size_tier(tier).problem)


@pytest.mark.parametrize("accelerator", [None, "B52"])
def test_an_unknown_accelerator_is_said_not_guessed(accelerator: str | None) -> None:
    (tier,) = a_config(a_tier(accelerator=accelerator)).llm_configs

    assert "routing.accelerator" in str(size_tier(tier).unknown)


@pytest.mark.parametrize(
    ("accelerator", "is_feasible"), [("A6000", False), ("A100-80", False), ("H200", True)]
)
def test_the_founding_case_is_impossible_on_one_machine_and_easy_on_another(
    accelerator: str, is_feasible: bool
) -> None:
    # Given 70B in 4 bits, 512 tokens in, 313 out, 5 seconds
    whatsapp = {"e2e_ms": 5000, "expected_output_tokens": 313}
    config = a_config(a_tier(LLAMA_AWQ, accelerator), slo_classes={"whatsapp": whatsapp})

    (verdict,) = judge_classes(config, [size_tier(tier) for tier in config.llm_configs])

    assert verdict.is_feasible is is_feasible
    assert (verdict.candidate.smallest_e2e_s <= 5) is is_feasible


@pytest.mark.parametrize(("on_infeasible", "is_fine"), [("degrade", True), ("reject", False)])
def test_a_class_that_no_tier_meets_is_an_error_only_when_it_rejects(
    on_infeasible: str, is_fine: bool
) -> None:
    classes = {"instant": {"e2e_ms": 10, "on_infeasible": on_infeasible}}
    checked = CheckedFile((), parse(""), a_config(slo_classes=classes))

    report = make_report("f.yaml", checked)

    assert report.is_fine is is_fine
    assert "smallest feasible e2e_ms" in report.findings[0].message


def test_the_report_of_the_repository_s_own_files_is_fine() -> None:
    for name in ("models.yaml", "models.local.yaml"):
        text = Path(name).read_text()
        config = check_text(text, SmallLibraries()).config
        assert config is not None

        report = as_dict(make_report(name, CheckedFile((), parse(text), config)))

        assert report["is_fine"]
        assert [tier["fits"] for tier in report["tiers"]] == [True, True]
