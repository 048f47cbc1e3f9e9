import re

import pytest
import yaml

from deployments.schemas.engine import engine_argument_problems
from deployments.schemas.problems import Problem
from serve_app.check.file.document import parse
from serve_app.check.file.serve_file import check_text
from tests.unit.check.builders import SERVE_FILE, SmallLibraries, a_serve_file


def test_a_right_file_has_no_findings() -> None:
    checked = check_text(SERVE_FILE, SmallLibraries())

    assert checked.findings == ()
    assert checked.config is not None


@pytest.mark.parametrize(
    ("right", "wrong", "where", "line"),
    [
        ("port", "prt", "http_options.prt", 1),
        ("name:", "nme:", "applications[0].nme", 3),
        ("slo_classes", "slo_clases", "applications[0].args.slo_clases", 13),
        ("e2e_ms", "e2e_m", "applications[0].args.slo_classes.whatsapp.e2e_m", 14),
        (
            "min_replicas", "min_replica",
            "applications[0].args.llm_configs[0].deployment_config.autoscaling_config.min_replica",
            10,
        ),
        ("env_vars", "env_var", "applications[0].args.llm_configs[0].runtime_env.env_var", 11),
    ],
)  # fmt: skip
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_valid_one(
    right: str, wrong: str, where: str, line: int
) -> None:
    checked = check_text(a_serve_file(**{right: wrong}), SmallLibraries())

    finding = checked.findings[0]
    assert (finding.where, finding.line) == (where, line)
    assert f"did you mean {right.rstrip(':')!r}?" in finding.message


def test_every_problem_is_reported_at_once() -> None:
    # Given a typo outside args, one inside, and a wrong value beside the latter
    text = a_serve_file(
        **{"{port": "{prt", "accelerator": "acelerator", "default: 7.3": "default: x"}
    )

    checked = check_text(text, SmallLibraries())

    said = [finding.where.rpartition(".")[2] for finding in checked.findings]
    assert said == ["prt", "acelerator", "default"]


def test_a_wrong_value_is_reported_with_path_line_and_value() -> None:
    checked = check_text(a_serve_file(**{"e2e_ms: 5000": "e2e_ms: soon"}), SmallLibraries())

    (finding,) = [f for f in checked.findings if "e2e_ms" in f.where]
    assert finding.line == 14
    assert "'soon'" in finding.message


def test_what_the_engine_refuses_is_placed_at_its_tier() -> None:
    problem = Problem(("engine_kwargs", "max_model_len"), "should be an integer")

    checked = check_text(SERVE_FILE, SmallLibraries([problem]))

    (finding,) = checked.findings
    assert finding.where.endswith("llm_configs[0].engine_kwargs.max_model_len")
    assert (finding.line, finding.severity) == (8, "error")


def test_a_machine_without_the_engine_warns_that_its_arguments_were_not_checked() -> None:
    checked = check_text(SERVE_FILE, SmallLibraries(has_engine=False))

    (finding,) = checked.findings
    assert finding.severity == "warning"
    assert not checked.has_errors


def test_tiers_that_may_all_sleep_are_advised_against() -> None:
    text = a_serve_file(**{"min_replicas: 1": "min_replicas: 0"})

    (finding,) = check_text(text, SmallLibraries()).findings

    assert finding.where.endswith("llm_configs")
    assert finding.severity == "warning"
    assert "cold start" in finding.message


def test_naming_awq_is_advised_against() -> None:
    text = a_serve_file(**{"max_model_len: 4096": "quantization: awq"})

    (finding,) = check_text(text, SmallLibraries()).findings

    assert finding.severity == "warning"
    assert "Marlin" in finding.message


def test_a_model_source_that_cannot_be_resolved_is_an_error() -> None:
    text = a_serve_file(**{"{model_id: zephyr-7b}": "{model_id: a, model_source: 'embedded:no'}"})

    (finding,) = check_text(text, SmallLibraries()).findings

    assert finding.where.endswith("model_source")
    assert "embedded" in finding.message


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "just words"])
def test_what_is_no_mapping_is_one_error(text: str) -> None:
    checked = check_text(text, SmallLibraries())

    assert len(checked.findings) == 1
    assert checked.config is None


def test_a_file_without_our_application_says_so() -> None:
    checked = check_text(a_serve_file(**{"serve_app.app:build": "other:app"}), SmallLibraries())

    assert "serve_app.app:build" in checked.findings[0].message


def test_a_key_written_twice_is_an_error() -> None:
    document = parse("a: 1\nb: 2\na: 3\n")

    (finding,) = document.findings
    assert (finding.where, finding.line) == ("a", 3)
    assert "line 1" in finding.message


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_model_len": "abc"}, "valid integer"),
        ({"max_model_len": "4096"}, "without quotes"),
        ({"max_model_lenn": 4096}, "did you mean 'max_model_len'"),
        ({"xyzzy": 1}, "no argument of vLLM"),
    ],
)
def test_an_engine_argument_is_checked_by_name_and_type(
    kwargs: dict[str, object], message: str
) -> None:
    (problem,) = engine_argument_problems(kwargs, {"max_model_len": int})

    assert message in problem.message


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"applications: \xff", "unacceptable character"),
        (b"applications: 2026-13-45", "month must be in"),
    ],
)
def test_bytes_that_are_no_yaml_are_one_error(data: bytes, problem: str) -> None:
    (finding,) = check_text(data, SmallLibraries()).findings

    assert re.search(problem, finding.message), finding.message
    assert "\n" not in finding.message


def test_every_application_of_ours_is_checked() -> None:
    # Given a second one with a key that nobody knows
    first = a_serve_file()
    second = yaml.safe_load(first)["applications"][0]
    second |= {"name": "other"}
    second["args"]["rooting"] = {}
    both = yaml.safe_load(first)
    both["applications"].append(second)

    checked = check_text(yaml.safe_dump(both), SmallLibraries())

    wrong = [finding.where for finding in checked.findings if finding.severity == "error"]
    assert wrong == ["applications[1].args.rooting"]
    assert any("first Tandem application only" in f.message for f in checked.findings)
