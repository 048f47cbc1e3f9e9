from pathlib import Path
from threading import Event

import pytest

from deployments.store.places.folder import FolderPlace
from deployments.store.places.types import OnBytes, StoreFailed
from deployments.store.pull import is_whole, part_folder, pull_folder
from deployments.store.push import published_manifest, push
from deployments.store.verify import verify_folder, verify_place
from tests.unit.store.builders import (
    PIECE_BYTES,
    FailingPlace,
    Phases,
    a_model,
    contents,
    published,
    unseen,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return a_model(tmp_path / "model")


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "place")


def test_what_was_pushed_is_pulled(model: Path, place: FolderPlace, tmp_path: Path) -> None:
    manifest = published(model, place)

    fetched = pull_folder(place, manifest, tmp_path / "pulled", unseen)

    assert fetched == 3510
    assert contents(tmp_path / "pulled") == contents(model)
    assert verify_place(place, unseen) == []
    assert verify_folder(tmp_path / "pulled", unseen) == []


def test_small_files_keep_their_names_and_large_ones_are_cut(
    model: Path, place: FolderPlace
) -> None:
    version = published(model, place).version

    assert place.sizes()[f"{version}/config.json"] == 10
    assert place.sizes()[f"{version}/weights.bin.piece-00003"] == 500


def test_whole_files_are_what_other_tools_read(model: Path, place: FolderPlace) -> None:
    version = push(model, place, unseen, piece_bytes=None).manifest.version

    assert contents(Path(place.uri) / version) == contents(model)


def test_hidden_files_are_not_published(model: Path, place: FolderPlace) -> None:
    (model / ".cache").mkdir()
    (model / ".cache" / "lock").write_text("x")

    names = {file.name for file in published(model, place).files}

    assert names == {"weights.bin", "config.json", "sub/empty"}


def test_a_reader_gets_the_old_model_until_the_new_one_is_all_there(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    old = published(model, place)
    # When a push of another model breaks off after two objects
    failing = FailingPlace(Path(place.uri), 2)
    with pytest.raises(KeyboardInterrupt):
        push(a_model(tmp_path / "new", seed=2), failing, unseen, piece_bytes=PIECE_BYTES)
    # Then the old one is what is published, whole
    assert published_manifest(place) == old
    assert verify_place(place, unseen) == []


def test_a_push_goes_on_where_it_broke_off(model: Path, place: FolderPlace) -> None:
    with pytest.raises(KeyboardInterrupt):
        push(model, FailingPlace(Path(place.uri), 3), unseen, piece_bytes=PIECE_BYTES)
    there = sum(place.sizes().values())

    pushed = push(model, place, unseen, piece_bytes=PIECE_BYTES)

    assert there > 0
    assert pushed.sent_bytes == 3510 - there
    assert verify_place(place, unseen) == []


def test_pushing_the_same_again_sends_nothing(model: Path, place: FolderPlace) -> None:
    published(model, place)

    pushed = push(model, place, unseen, piece_bytes=PIECE_BYTES)

    assert (pushed.sent_bytes, pushed.kept_bytes) == (0, 3510)


def test_a_model_that_changed_a_little_is_sent_a_little(model: Path, place: FolderPlace) -> None:
    published(model, place)
    (model / "config.json").write_text("{}")

    pushed = push(model, place, unseen, piece_bytes=PIECE_BYTES)

    assert (pushed.sent_bytes, pushed.copied_bytes) == (2, 3500)
    assert verify_place(place, unseen) == []


def test_a_place_that_refuses_is_known_before_all_is_hashed(tmp_path: Path) -> None:
    # Given a model of many blocks, and a place that refuses while the first one is read
    asked = Event()
    counted: list[int] = []

    class RefusingPlace(FolderPlace):
        def read(self, key: str) -> bytes | None:
            asked.set()
            raise StoreFailed(self.uri, "read", "access is denied", "Allow it.")

    def start_phase(phase: str, num_bytes: int) -> OnBytes:
        def on_bytes(count: int) -> None:
            asked.wait()
            counted.append(count)

        return on_bytes

    model = a_model(tmp_path / "model", **{"weights.bin": 64 * 2**20})
    # When it is pushed
    with pytest.raises(StoreFailed, match="access is denied"):
        push(model, RefusingPlace(tmp_path / "place"), start_phase)
    # Then the rest was not read in vain
    assert sum(counted) < 64 * 2**20


def test_a_pull_goes_on_where_it_broke_off(model: Path, place: FolderPlace, tmp_path: Path) -> None:
    manifest, target = published(model, place), tmp_path / "pulled"
    with pytest.raises(KeyboardInterrupt):
        pull_folder(FailingPlace(Path(place.uri), 3), manifest, target, unseen)
    assert not target.exists()

    phases = Phases()
    fetched = pull_folder(place, manifest, target, phases)

    assert 0 < phases.told["checking"] < 3510
    assert fetched == 3510 - phases.told["checking"]
    assert contents(target) == contents(model)


def test_a_finished_piece_that_the_disk_lost_is_fetched_again(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    # Given a pull that broke off, and a power cut that lost what it had written
    manifest, target = published(model, place), tmp_path / "pulled"
    with pytest.raises(KeyboardInterrupt):
        pull_folder(FailingPlace(Path(place.uri), 4), manifest, target, unseen)
    (part_folder(target) / "weights.bin").write_bytes(bytes(3500))
    # When it is pulled again, then the sums decide
    pull_folder(place, manifest, target, unseen)
    assert contents(target) == contents(model)


def test_a_corrupted_object_never_becomes_a_model(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    manifest = published(model, place)
    key = f"{manifest.version}/weights.bin.piece-00001"
    (Path(place.uri) / key).write_bytes(bytes(PIECE_BYTES))

    with pytest.raises(StoreFailed, match=r"piece-00001 is corrupted.*--overwrite"):
        pull_folder(place, manifest, tmp_path / "pulled", unseen)

    assert not (tmp_path / "pulled").exists()
    (problem,) = verify_place(place, unseen)
    assert "piece-00001 is corrupted" in problem


def test_a_cut_and_a_missing_object_are_named(model: Path, place: FolderPlace) -> None:
    version = published(model, place).version
    (Path(place.uri) / version / "config.json").write_bytes(b"x")
    (Path(place.uri) / version / "weights.bin.piece-00000").unlink()

    problems = verify_place(place, unseen)

    assert [problem.split("/", 1)[1] for problem in problems] == [
        "config.json has 1 bytes and should have 10",
        "weights.bin.piece-00000 is missing",
    ]


def test_overwriting_repairs_a_place(model: Path, place: FolderPlace) -> None:
    version = published(model, place).version
    (Path(place.uri) / version / "weights.bin.piece-00001").write_bytes(bytes(PIECE_BYTES))

    push(model, place, unseen, piece_bytes=PIECE_BYTES, is_overwriting=True)

    assert verify_place(place, unseen) == []


def test_a_damaged_file_of_a_pulled_folder_is_named(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    pull_folder(place, published(model, place), tmp_path / "pulled", unseen)
    (tmp_path / "pulled" / "weights.bin").write_bytes(bytes(3500))
    (tmp_path / "pulled" / "config.json").unlink()

    problems = verify_folder(tmp_path / "pulled", unseen)

    assert [problem.split(":")[0] for problem in problems] == [
        "config.json is missing", "weights.bin is corrupted",
    ]  # fmt: skip


def test_a_new_version_replaces_the_pulled_one(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    pull_folder(place, published(model, place), tmp_path / "pulled", unseen)
    (model / "config.json").write_text("{}")
    manifest = published(model, place)

    pull_folder(place, manifest, tmp_path / "pulled", unseen)

    assert is_whole(tmp_path / "pulled", manifest)
    assert contents(tmp_path / "pulled") == contents(model)


def test_a_folder_with_something_else_is_never_replaced(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    mine = a_model(tmp_path / "mine", seed=3)
    with pytest.raises(StoreFailed, match="not empty and was not pulled"):
        pull_folder(place, published(model, place), mine, unseen)


def test_progress_counts_every_byte_once(model: Path, place: FolderPlace, tmp_path: Path) -> None:
    phases = Phases()

    manifest = push(model, place, phases, piece_bytes=PIECE_BYTES).manifest
    pull_folder(place, manifest, tmp_path / "pulled", phases)

    assert phases.told == phases.counted
    assert phases.told == {"hashing": 3510, "sending": 3510, "checking": 0, "fetching": 3510}


def test_what_another_version_left_unfinished_does_not_get_into_the_model(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    # Given an unfinished pull of a version whose file was longer
    manifest, target = published(model, place), tmp_path / "pulled"
    with pytest.raises(KeyboardInterrupt):
        pull_folder(FailingPlace(Path(place.uri), 1), manifest, target, unseen)
    # When a version with a shorter one is pulled to the same folder
    (model / "weights.bin").write_bytes(b"short")
    pull_folder(place, published(model, place), target, unseen)
    # Then it is what was published
    assert contents(target) == contents(model)


def test_a_pulled_folder_whose_manifest_is_damaged_is_pulled_again(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    manifest, target = published(model, place), tmp_path / "pulled"
    pull_folder(place, manifest, target, unseen)
    (target / "tandem-store.json").write_bytes(b"")

    pull_folder(place, manifest, target, unseen)

    assert is_whole(target, manifest)


def test_a_model_that_is_only_cut_otherwise_is_not_pulled_again(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    pull_folder(place, published(model, place), tmp_path / "pulled", unseen)
    manifest = push(model, place, unseen, piece_bytes=None).manifest

    assert pull_folder(place, manifest, tmp_path / "pulled", unseen) == 0
