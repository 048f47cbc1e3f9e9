"""A second `tandem up` beside a server that runs: never another file's, never its end."""

import os
from pathlib import Path

import psutil
import pytest
import typer

from serve_app.commands.local import command
from serve_app.commands.local.instance import Instance
from serve_app.commands.local.watch import StartFailed
from serve_app.commands.serve_file import ServeFile, derive, read_serve_file

LOCAL = Path(__file__).parents[3] / "models.local.yaml"


@pytest.fixture
def file() -> ServeFile:
    return derive(read_serve_file(LOCAL), is_fake=True, port=1)


@pytest.fixture
def instance(tmp_path: Path, file: ServeFile, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """One that lives and was started with the file; nothing in here can stop it."""
    started = psutil.Process().create_time()
    running = Instance("not-a-mark", os.getpid(), started, "127.0.0.1", file.port)
    monkeypatch.setattr(command, "find", lambda run_dir: running)
    monkeypatch.setattr(command, "start", lambda *arguments: running)
    command.launch(tmp_path, file, print)
    return running


def test_the_same_file_again_finds_what_runs(
    tmp_path: Path, instance: Instance, file: ServeFile
) -> None:
    assert command.running(tmp_path, file) is instance


def test_a_file_that_was_changed_is_not_taken_for_the_one_that_runs(
    tmp_path: Path, instance: Instance, file: ServeFile
) -> None:
    changed = derive(file, is_fake=False, port=file.port)
    changed.content["applications"][0]["args"]["slo_classes"]["whatsapp"]["e2e_ms"] = 4000
    with pytest.raises(ValueError, match="tandem down"):
        command.running(tmp_path, changed)


@pytest.mark.parametrize("is_ours", [True, False])
def test_who_waits_in_vain_ends_only_what_it_started(
    tmp_path: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch, is_ours: bool
) -> None:
    def never_ready(*arguments: object) -> None:
        raise StartFailed("not ready")

    ended: list[Instance] = []
    monkeypatch.setattr(command, "wait_until_ready", never_ready)
    monkeypatch.setattr(command, "last_lines", lambda log: "")
    monkeypatch.setattr(command, "end", lambda instance, run_dir: ended.append(instance))
    with pytest.raises(typer.Exit):
        command.watch(instance, tmp_path, print, 1.0, is_ours=is_ours)
    assert ended == [instance] * is_ours
