"""What a user gets wrong is said in a sentence, with an exit code, and before the work."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.check.cluster.kuberay import for_pods
from serve_app.cli import app
from serve_app.commands.serve_file import read_serve_file
from tests.unit.store.builders import a_model


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1\n", "'models.yaml' is no YAML: .*line 2"),
        (b"a: \xff\n", "'models.yaml' is no YAML: .*0xff"),
        (b"applications: {name: tandem}\n", "`applications` is no list of mappings"),
        (b"applications: [tandem]\n", "`applications` is no list of mappings"),
    ],
)
def test_a_file_that_is_no_serve_file_is_named(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models.yaml").write_bytes(content)

    with pytest.raises(ValueError, match=message):
        read_serve_file(Path("models.yaml"))


def test_a_serve_file_without_http_options_can_be_held_against_a_rayservice() -> None:
    served = for_pods({"applications": [{"import_path": "serve_app.app:build"}]})

    assert served["http_options"] == {"host": "0.0.0.0"}
    assert served["applications"][0]["args"] == {"auth": {"keys": "env:TANDEM_API_KEYS"}}


@pytest.mark.parametrize(
    "command",
    [["keys", "list"], ["store", "ls"], ["store", "verify"], ["bench", "decide"]],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("report", "message"), [("no/report.json", "does not exist"), ("taken", "is a folder")]
)
def test_a_report_that_could_not_be_written_is_refused_before_the_work(
    command: list[str], report: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    (tmp_path / "taken").mkdir()

    result = CliRunner().invoke(app, [*command, "--json", str(tmp_path / report)])

    assert result.exit_code == 2, result.output
    # As it stands in a frame.
    said = re.sub(r"[\s│]+", " ", result.output)
    assert "--json" in said
    assert message in said


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_an_endless_number_of_users_is_refused(value: str) -> None:
    asked = ["size", "--users", value, "--config", "models.yaml", "--class", "whatsapp"]

    result = CliRunner().invoke(app, asked)

    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (1, 2)
    assert "--users" in result.output


def test_a_dry_run_says_what_would_leave_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_STORE_CACHE", str(tmp_path))
    (tmp_path / "zephyr-7b-0123456789abcdef").mkdir()
    (tmp_path / "zephyr-7b-0123456789abcdef" / "weights.bin").write_bytes(bytes(5000))
    (tmp_path / "zephyr-7b-0123456789abcdef.lock").touch()

    told = CliRunner().invoke(app, ["store", "gc", "--dry-run"])

    assert "would remove" in told.output
    assert "zephyr-7b-0123456789abcdef" in told.output.replace("\n", "")
    assert (tmp_path / "zephyr-7b-0123456789abcdef" / "weights.bin").exists()


def test_one_model_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    # Given a folder of models, one of which another release published
    (tmp_path / "models" / "old").mkdir(parents=True)
    (tmp_path / "models" / "old" / "tandem-store.json").write_text('{"format": 1}')
    push = ["store", "push", str(a_model(tmp_path / "model")), str(tmp_path / "models" / "new")]
    assert CliRunner().invoke(app, push).exit_code == 0
    # When they are listed
    report = tmp_path / "report.json"
    listed = CliRunner().invoke(
        app, ["store", "ls", str(tmp_path / "models"), "--json", str(report)]
    )
    # Then the other one is there, and this one is named
    document = json.loads(report.read_text())
    assert listed.exit_code == 1
    assert [model["uri"] for model in document["models"]] == [str(tmp_path / "models" / "new")]
    (problem,) = document["problems"]
    assert str(tmp_path / "models" / "old") in problem
    assert "its format is 1" in problem
