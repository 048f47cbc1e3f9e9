"""`tandem check` against the installed Ray Serve and vLLM, in one process that imports them once.

Nothing starts and nothing is downloaded; the imports take some 10 s.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.schemas import engine
from serve_app.check.file.serve_file import CheckedFile, check_text

pytest.importorskip("vllm")
pytestmark = pytest.mark.filterwarnings("ignore")

MODELS = Path("models.yaml").read_text()


def check_with(old: str, new: str) -> CheckedFile:
    """models.yaml with the first `old` replaced."""
    assert old in MODELS
    return check_text(MODELS.replace(old, new, 1), engine)


def said(checked: CheckedFile) -> dict[str, str]:
    return {finding.where: finding.message for finding in checked.findings}


@pytest.mark.parametrize("name", ["models.yaml", "models.local.yaml"])
def test_the_repository_s_own_files_have_no_errors(name: str) -> None:
    checked = check_text(Path(name).read_text(), engine)

    assert said(checked) == {}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("proxy_location", "proxy_locaton"),
        ("route_prefix", "route_prefx"),
        ("port:", "prt:"),
        ("target_ongoing_requests", "target_ongoing_request"),
        ("max_ongoing_requests", "max_ongoing_request"),
        ("{resources:", "{resource:"),
        ("max_model_len", "max_modl_len"),
    ],
)
def test_a_typo_that_ray_would_ignore_is_an_error(right: str, wrong: str) -> None:
    checked = check_with(right, wrong)

    assert checked.has_errors
    key = right.strip("{:")
    assert any(f"did you mean {key!r}" in message for message in said(checked).values())


@pytest.mark.parametrize(
    ("right", "wrong", "where", "reason"),
    [
        ("max_model_len: 4096", "max_model_len: abc", "engine_kwargs.max_model_len", "integer"),
        ("priority}", "prio}", "engine_kwargs.scheduling_policy", "'fcfs' or 'priority'"),
        (
            "max_num_seqs: 32", "compilation_config: {levl: 3}",
            "engine_kwargs.compilation_config", "levl",
        ),
        ("max_replicas: 4", "max_replicas: 0", "deployment_config", "max_replicas"),
        ("accelerator_type: A100", "accelerator_type: A6000", "accelerator_type", "A6000"),
        ("port: 8000", "port: abc", "http_options.port", "integer"),
        ("max_num_seqs: 32", "model: other", "engine_kwargs", "model_loading_config"),
    ],
)  # fmt: skip
def test_a_value_that_ray_or_vllm_would_refuse_is_an_error(
    right: str, wrong: str, where: str, reason: str
) -> None:
    messages = said(check_with(right, wrong))

    (message,) = [message for place, message in messages.items() if place.endswith(where)]
    assert reason in message


def test_the_command_writes_its_report_and_exits_1_on_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    from serve_app.commands.check.command import check

    file = tmp_path / "typo.yaml"
    file.write_text(MODELS.replace("slo_classes", "slo_clases"))

    with pytest.raises(typer.Exit) as stopped:
        check(file, json=tmp_path / "report.json")

    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    assert stopped.value.exit_code == 1
    assert "did you mean" in report["findings"][0]["message"]
    assert "did you mean" in " ".join(capsys.readouterr().out.split())
