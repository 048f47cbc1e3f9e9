"""Embedded models are made once, whole or not at all, by one process at a time."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.local_models import embedded_name, embedded_path, prepare, resolve_source
from deployments.local_models import tandem_home as tandem_home_of_the_environment
from deployments.weights.embedded import EmbeddedModel
from deployments.weights.keep import MANIFEST, keep
from deployments.weights.scripts import Report

Fill = Callable[[Path], None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    return tmp_path


def a_maker(log: list[str], name: str = "weights", content: str = "0123456789") -> Fill:
    def fill(folder: Path) -> None:
        log.append(name)
        (folder / "model.safetensors").write_text(content)

    return fill


def a_model(
    log: list[str], name: str, made_of: str | None = None, recipe: str = "1"
) -> EmbeddedModel:
    def make(home: Path, report: Report, folder: Path) -> None:
        a_maker(log, name)(folder)

    return EmbeddedModel(name, made_of, lambda: recipe, make)


def dies(folder: Path) -> None:
    (folder / "model.safetensors").write_text("half")
    raise OSError("No space left on device")


def leftovers(folder: Path) -> list[Path]:
    return list(folder.parent.glob(f".{folder.name}.*"))


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    # Given
    made: list[str] = []
    folder = tmp_path / "model"

    # When
    answers = [keep(folder, "recipe", a_maker(made)) for _ in range(3)]

    # Then
    assert answers == [True, False, False]
    assert made == ["weights"]
    assert (folder / "model.safetensors").read_text() == "0123456789"


def test_a_failed_making_leaves_nothing(tmp_path: Path) -> None:
    # Given
    folder = tmp_path / "model"

    # When
    with pytest.raises(OSError, match="No space left"):
        keep(folder, "recipe", dies)

    # Then
    assert not folder.exists()
    assert not leftovers(folder)


def test_a_failed_remaking_keeps_the_old_folder(tmp_path: Path) -> None:
    # Given
    folder = tmp_path / "model"
    keep(folder, "recipe", a_maker([]))

    # When
    with pytest.raises(OSError, match="No space left"):
        keep(folder, "a new recipe", dies)

    # Then
    assert (folder / "model.safetensors").read_text() == "0123456789"


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    # Given
    folder = tmp_path / "model"
    half_made = tmp_path / ".model.making-killed"
    half_made.mkdir()
    (half_made / "model.safetensors").write_text("half")

    # When
    keep(folder, "recipe", a_maker([]))

    # Then
    assert not leftovers(folder)
    assert (folder / "model.safetensors").read_text() == "0123456789"


def a_neighbour(tmp_path: Path) -> Path:
    """A folder whose name begins with the name of another."""
    neighbour = tmp_path / ".model-awq.making-running"
    neighbour.mkdir()
    return neighbour


def test_what_another_folders_maker_is_at_stays(tmp_path: Path) -> None:
    # Given
    neighbour = a_neighbour(tmp_path)

    # When
    keep(tmp_path / "model", "recipe", a_maker([]))

    # Then
    assert neighbour.exists()


def cut(folder: Path) -> None:
    (folder / "model.safetensors").write_text("0123")


def flip(folder: Path) -> None:
    (folder / "model.safetensors").write_text("0123456780")


def lose_a_file(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def lose_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def spoil_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{}")


@pytest.mark.parametrize("damage", [cut, flip, lose_a_file, lose_the_manifest, spoil_the_manifest])
def test_a_damaged_folder_is_made_anew(tmp_path: Path, damage: Fill) -> None:
    # Given
    folder = tmp_path / "model"
    keep(folder, "recipe", a_maker([]))
    damage(folder)

    # When
    was_made = keep(folder, "recipe", a_maker([]))

    # Then
    assert was_made
    assert (folder / "model.safetensors").read_text() == "0123456789"
    assert not leftovers(folder)


def test_files_that_others_add_do_no_harm(tmp_path: Path) -> None:
    # Given
    folder = tmp_path / "model"
    keep(folder, "recipe", a_maker([]))
    (folder / "notes.txt").write_text("mine")

    # When
    was_made = keep(folder, "recipe", a_maker([]))

    # Then
    assert not was_made


def hold(folder: Path, has_begun: object, may_end: object) -> None:
    def fill(into: Path) -> None:
        has_begun.set()  # type: ignore[attr-defined]
        assert may_end.wait(30)  # type: ignore[attr-defined]
        (into / "made_by").write_text("first")

    keep(folder, "recipe", fill)


def test_a_second_process_waits_and_uses_the_firsts_result(tmp_path: Path) -> None:
    # Given
    spawn = multiprocessing.get_context("spawn")
    has_begun, may_end = spawn.Event(), spawn.Event()
    first = spawn.Process(target=hold, args=(tmp_path / "model", has_begun, may_end))
    first.start()
    assert has_begun.wait(30)

    # When
    may_end.set()
    was_made = keep(tmp_path / "model", "recipe", a_maker([]))
    first.join(30)

    # Then
    assert not was_made
    assert (tmp_path / "model" / "made_by").read_text() == "first"


def test_a_model_is_made_after_the_one_it_is_made_of(home: Path) -> None:
    # Given
    made: list[str] = []
    models = {"base": a_model(made, "base"), "twin": a_model(made, "twin", made_of="base")}

    # When
    prepare(["twin", "base"], lambda line: None, models)

    # Then
    assert made == ["base", "twin"]


def test_a_finished_model_survives_the_failure_of_the_next(home: Path) -> None:
    # Given
    made: list[str] = []
    broken = EmbeddedModel("twin", "base", lambda: "1", lambda home, report, folder: dies(folder))
    whole = a_model(made, "twin", made_of="base")

    # When
    with pytest.raises(OSError, match="No space left"):
        prepare(["twin"], lambda line: None, {"base": a_model(made, "base"), "twin": broken})
    prepare(["twin"], lambda line: None, {"base": a_model(made, "base"), "twin": whole})

    # Then
    assert made == ["base", "twin"]


def test_another_recipe_makes_a_model_anew(home: Path) -> None:
    # Given
    made: list[str] = []

    # When
    for recipe in ("1", "1", "2"):
        prepare(["base"], lambda line: None, {"base": a_model(made, "base", recipe=recipe)})

    # Then
    assert made == ["base", "base"]


def test_what_is_done_is_reported(home: Path) -> None:
    # Given
    said: list[str] = []
    models = {"base": a_model([], "base")}

    # When
    for _ in range(2):
        prepare(["base"], said.append, models)

    # Then
    assert said == ["base is made", "base is there already"]


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'llama'.*smollm2-135m.*smollm2-135m-awq"):
        embedded_path("llama")


def test_embedded_sources_become_folders(home: Path) -> None:
    expected = home / "models" / "smollm2-135m"
    assert resolve_source("embedded:smollm2-135m") == str(expected)


def test_home_and_variables_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("WEIGHTS", "/big")

    # Then
    assert resolve_source("~/zephyr") == "/home/me/zephyr"
    assert resolve_source("$WEIGHTS/${WEIGHTS}/zephyr") == "/big//big/zephyr"


def test_a_variable_that_is_not_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.delenv("WEIGHTS", raising=False)

    # Then
    with pytest.raises(ValueError, match=r"\$WEIGHTS is not set"):
        resolve_source("$WEIGHTS/zephyr")


@pytest.mark.parametrize(
    "source", ["HuggingFaceH4/zephyr-7b-beta", "s3://bucket/zephyr", None, {"bucket_uri": "s3://b"}]
)
def test_other_sources_stay_as_they_are(source: str | dict[str, str] | None) -> None:
    assert resolve_source(source) == source
    assert embedded_name(source) is None


def test_the_cache_folder_of_the_user_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.delenv("TANDEM_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/my-cache")

    # Then
    assert tandem_home_of_the_environment() == Path("/var/my-cache/tandem")
