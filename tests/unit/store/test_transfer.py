import hashlib
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from deployments.store.gc import garbage
from deployments.store.manifest import MANIFEST, Manifest
from deployments.store.places.folder import FolderPlace
from deployments.store.places.types import Run, StoreFailed
from deployments.store.transfer.pull import is_whole, part_folder, pull_folder
from deployments.store.transfer.push import published_manifest, push
from deployments.store.verify import verify_folder, verify_place
from tests.unit.store.builders import (
    PIECE_BYTES,
    FailingPlace,
    Phases,
    a_model,
    contents,
    published,
    push_in_pieces,
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


def test_objects_are_named_after_what_is_in_them(model: Path, place: FolderPlace) -> None:
    published(model, place)

    for key in place.sizes().keys() - {MANIFEST}:
        assert key == f".pieces/{hashlib.sha256(place.read(key) or b'').hexdigest()}"


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
        push_in_pieces(a_model(tmp_path / "new", seed=2), failing)
    # Then the old one is what is published, whole
    assert published_manifest(place) == old
    assert verify_place(place, unseen) == []


def test_a_push_goes_on_where_another_one_broke_off(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    # Given a push that broke off, and the same model in another folder
    with pytest.raises(KeyboardInterrupt):
        push_in_pieces(model, FailingPlace(Path(place.uri), 3))
    there = sum(place.sizes().values())
    copy = a_model(tmp_path / "copy")
    # When that is pushed, then only the rest is sent
    pushed = push_in_pieces(copy, place)
    assert there > 0
    assert pushed.sent_bytes == 3510 - there
    assert verify_place(place, unseen) == []


def test_pushing_the_same_again_sends_nothing(model: Path, place: FolderPlace) -> None:
    published(model, place)

    pushed = push_in_pieces(model, place)

    assert (pushed.sent_bytes, pushed.kept_bytes) == (0, 3510)


def test_a_model_that_changed_a_little_is_sent_a_little(model: Path, place: FolderPlace) -> None:
    old = published(model, place)
    (model / "config.json").write_text("{}")

    pushed = push_in_pieces(model, place)

    assert (pushed.sent_bytes, pushed.kept_bytes) == (2, 3500)
    assert pushed.manifest.version != old.version
    assert verify_place(place, unseen) == []


def test_what_is_twice_in_a_model_is_sent_once(model: Path, place: FolderPlace) -> None:
    (model / "again.bin").write_bytes((model / "weights.bin").read_bytes())

    pushed = push_in_pieces(model, place)

    assert (pushed.sent_bytes, pushed.kept_bytes) == (3510, 3500)
    assert verify_place(place, unseen) == []


def test_what_is_twice_in_a_model_is_pulled_twice(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    (model / "again.bin").write_bytes((model / "weights.bin").read_bytes())
    manifest, target = published(model, place), tmp_path / "pulled"
    with pytest.raises(KeyboardInterrupt):
        pull_folder(FailingPlace(Path(place.uri), 3), manifest, target, unseen)

    pull_folder(place, manifest, target, unseen)

    assert contents(target) == contents(model)


def test_a_piece_that_garbage_collection_took_meanwhile_is_sent_again(
    model: Path, tmp_path: Path
) -> None:
    # Given pieces of a push that broke off long ago
    with pytest.raises(KeyboardInterrupt):
        push_in_pieces(model, FailingPlace(tmp_path / "place", 3))

    # And somebody who collects them while the next push is at work
    class CollectedPlace(FolderPlace):
        def upload(self, *arguments: Any) -> None:
            with lock:
                if not collected:
                    collected.update(garbage(self, older_than_s=0))
                    self.delete(list(collected))
            super().upload(*arguments)

    lock, collected = Lock(), dict[str, int]()
    place = CollectedPlace(tmp_path / "place")
    # When it ends, then all that the manifest names is there
    push_in_pieces(model, place)
    assert collected
    assert verify_place(place, unseen) == []


def test_a_place_that_refuses_is_known_before_anything_is_read(model: Path, tmp_path: Path) -> None:
    class RefusingPlace(FolderPlace):
        def read(self, key: str) -> bytes | None:
            raise StoreFailed(self.uri, "read", "access is denied", "Allow it.")

    phases = Phases()
    with pytest.raises(StoreFailed, match="access is denied"):
        push_in_pieces(model, RefusingPlace(tmp_path / "place"), phases)

    assert phases.told == {}


def test_a_file_that_changes_while_it_is_pushed_is_not_published(
    model: Path, tmp_path: Path
) -> None:
    # Given somebody who replaces a file after it was read
    (tmp_path / "new").write_bytes(b"0123456789")

    class ChangingPlace(FolderPlace):
        def upload(self, *arguments: Any) -> None:
            with suppress(FileNotFoundError):
                (tmp_path / "new").replace(model / "config.json")
            super().upload(*arguments)

    place = ChangingPlace(tmp_path / "place")
    # When it is pushed, then nobody gets the mixture
    with pytest.raises(StoreFailed, match=r"config\.json changed meanwhile"):
        push_in_pieces(model, place)
    assert published_manifest(place) is None
    # And whatever was sent under a wrong name is not taken for right by the next push
    a_model(model)
    published(model, FolderPlace(tmp_path / "place"))
    assert verify_place(place, unseen) == []


def test_a_model_that_changed_after_a_push_broke_off_is_published_as_it_is_now(
    model: Path, place: FolderPlace, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        push_in_pieces(model, FailingPlace(Path(place.uri), 3))
    a_model(model, seed=2)

    manifest = published(model, place)

    assert verify_place(place, unseen) == []
    pull_folder(place, manifest, tmp_path / "pulled", unseen)
    assert contents(tmp_path / "pulled") == contents(model)


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
    key = key_of(manifest, "weights.bin[1000:2000]")
    (Path(place.uri) / key).write_bytes(bytes(PIECE_BYTES))

    with pytest.raises(StoreFailed, match=r"weights\.bin\[1000:2000\] is corrupted.*--overwrite"):
        pull_folder(place, manifest, tmp_path / "pulled", unseen)

    assert not (tmp_path / "pulled").exists()
    (problem,) = verify_place(FolderPlace(tmp_path / "place"), unseen)
    assert f"weights.bin[1000:2000] ({key}) is corrupted" in problem


def test_a_cut_and_a_missing_object_are_named(model: Path, place: FolderPlace) -> None:
    manifest = published(model, place)
    cut, missing = (key_of(manifest, n) for n in ("config.json[0:10]", "weights.bin[0:1000]"))
    (Path(place.uri) / cut).write_bytes(b"x")
    (Path(place.uri) / missing).unlink()

    problems = verify_place(place, unseen)

    assert problems == [
        f"config.json[0:10] ({cut}) has 1 bytes and should have 10",
        f"weights.bin[0:1000] ({missing}) is missing",
    ]


def test_overwriting_repairs_a_place(model: Path, place: FolderPlace) -> None:
    key = key_of(published(model, place), "weights.bin[1000:2000]")
    (Path(place.uri) / key).write_bytes(bytes(PIECE_BYTES))

    push_in_pieces(model, place, is_overwriting=True)

    assert verify_place(place, unseen) == []


def test_overwriting_repairs_a_place_whose_manifest_is_damaged(
    model: Path, place: FolderPlace
) -> None:
    published(model, place)
    place.write(MANIFEST, b"")
    with pytest.raises(StoreFailed, match="--overwrite"):
        push_in_pieces(model, place)

    push_in_pieces(model, place, is_overwriting=True)

    assert verify_place(place, unseen) == []


def test_an_object_that_somebody_deleted_is_brought_again(model: Path, place: FolderPlace) -> None:
    key = key_of(published(model, place), "config.json[0:10]")
    (Path(place.uri) / key).unlink()

    pushed = push_in_pieces(model, place)

    assert (pushed.sent_bytes, pushed.kept_bytes) == (10, 3500)
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

    push_in_pieces(model, place, phases)
    (model / "config.json").write_text("{}")
    manifest = push_in_pieces(model, place, phases).manifest
    pull_folder(place, manifest, tmp_path / "pulled", phases)

    assert phases.told == phases.counted
    assert phases.told == {"sending": 3502, "checking": 0, "fetching": 3502}


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
    manifest = push(model, place, unseen).manifest

    assert pull_folder(place, manifest, tmp_path / "pulled", unseen) == 0


def key_of(manifest: Manifest, name: str) -> str:
    return next(piece.key for piece in manifest.pieces if piece.name == name)


def test_a_push_that_is_given_up_spares_what_the_published_model_needs(
    model: Path, tmp_path: Path
) -> None:
    # Given a published model that is pushed anew, and a file that is written meanwhile
    place = FolderPlace(tmp_path / "place")
    published(model, place)

    class TouchingPlace(FolderPlace):
        def upload(self, *arguments: Any) -> None:
            super().upload(*arguments)
            (model / "weights.bin").touch()

    # When it is given up, then readers still get the model
    with pytest.raises(StoreFailed, match=r"weights\.bin changed meanwhile"):
        push_in_pieces(model, TouchingPlace(tmp_path / "place"), is_overwriting=True)
    assert verify_place(place, unseen) == []


def test_a_folder_takes_no_bytes_that_are_not_those_of_the_sum(model: Path, tmp_path: Path) -> None:
    run = Run(model / "weights.bin", 0, 1000, "0" * 64)
    place = FolderPlace(tmp_path / "place")
    with pytest.raises(StoreFailed, match=r"weights\.bin changed meanwhile"):
        place.upload(run, ".pieces/x", lambda num_bytes: None)
    assert place.sizes() == {}
