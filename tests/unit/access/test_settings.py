"""What the configuration refuses: strangers without keys, weights that hold code."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.access.binding import refusal
from serve_app.access.keys.key import read_keys
from serve_app.access.settings import AuthConfig, with_safe_weights
from serve_app.check.file.serve_file import check_text
from serve_app.cli import app as tandem
from serve_app.haproxy.settings import most_connections
from tests.unit.builders import a_config
from tests.unit.check.builders import SmallLibraries, a_serve_file


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8", None])
def test_this_machine_alone_needs_no_keys(host: str | None) -> None:
    assert refusal(host, AuthConfig()) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "gpu-1", ""])
def test_any_other_host_needs_keys_or_a_plain_word(host: str) -> None:
    assert "tandem keys create" in (refusal(host, AuthConfig()) or "")
    assert refusal(host, AuthConfig(keys="keys.yaml")) is None
    assert refusal(host, AuthConfig(open_to_everyone=True)) is None


@pytest.mark.parametrize("options", ["{port: 8000, host: 0.0.0.0}", "{port: 8000}"])
def test_check_reports_an_open_port_without_keys(options: str) -> None:
    text = a_serve_file(**{"{port: 8000, host: 127.0.0.1}": options})
    (finding,) = check_text(text, SmallLibraries()).findings
    assert (finding.severity, finding.where, finding.line) == ("error", "http_options.host", 1)
    keyed = text + "    auth: {keys: keys.yaml}\n"
    assert check_text(keyed, SmallLibraries()).findings == ()


def test_check_warns_of_code_from_a_models_repository() -> None:
    text = a_serve_file(**{"max_model_len: 4096": "trust_remote_code: true"})
    (finding,) = check_text(text, SmallLibraries()).findings
    assert finding.severity == "warning"
    assert finding.where.endswith("engine_kwargs.trust_remote_code")


@pytest.mark.parametrize("load_format", ["pt", "npcache", "PT"])
def test_pickled_weights_are_refused(load_format: str) -> None:
    tier = {
        "model_loading_config": {"model_id": "m"},
        "engine_kwargs": {"load_format": load_format},
    }
    with pytest.raises(ValueError, match="safetensors"):
        a_config(llm_configs=[tier])


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, "safetensors"),
        ({"load_format": "auto"}, "safetensors"),
        ({"load_format": "hf"}, "safetensors"),
        ({"load_format": "gguf"}, "gguf"),
    ],
)
def test_an_engine_never_falls_back_to_pickles(given: dict[str, str], used: str) -> None:
    tier = {"model_loading_config": {"model_id": "m"}, "engine_kwargs": given}
    spec = a_config(llm_configs=[tier], slo_classes={}).llm_configs[0]
    assert with_safe_weights(spec).engine_kwargs["load_format"] == used


def test_keys_are_made_listed_and_revoked_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    options = ["--file", str(file), "--name", "bot", "--requests-per-minute", "60"]
    made = CliRunner().invoke(tandem, ["keys", "create", *options])
    (key,) = read_keys(file.read_bytes())
    assert made.stdout.startswith(f"sk-tandem-{key.id}-")
    assert file.stat().st_mode & 0o077 == 0
    listed = CliRunner().invoke(tandem, ["keys", "list", "--file", str(file)])
    assert key.id in listed.stdout and key.hash not in listed.stdout
    CliRunner().invoke(tandem, ["keys", "revoke", key.id, "--file", str(file)])
    assert read_keys(file.read_bytes())[0].is_revoked
    unknown = CliRunner().invoke(tandem, ["keys", "revoke", "nobody", "--file", str(file)])
    assert unknown.exit_code == 1


def test_a_key_whose_first_saving_was_not_answered_is_there_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given S3, which saved the key, lost its answer, and is asked again
    saved: list[bytes] = []

    class Forgetful:
        def change(self, changed: Callable[[bytes | None], bytes]) -> None:
            saved.append(changed(None))
            saved.append(changed(saved[0]))

    monkeypatch.setattr("serve_app.commands.keys.open_storage", lambda file: Forgetful())
    CliRunner().invoke(tandem, ["keys", "create", "--file", "s3://bucket/keys.yaml"])
    assert len(read_keys(saved[-1])) == 1


def test_haproxy_takes_as_many_connections_as_files_allow() -> None:
    assert [most_connections(limit) for limit in (1024, 20_000, 2**20)] == ["500", "7600", "20000"]
