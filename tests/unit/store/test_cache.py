import os
from pathlib import Path

import pytest

from deployments.store.gc import collect, garbage
from deployments.store.manifest import MANIFEST
from deployments.store.node.cache import Cache, Held, node_cache
from deployments.store.places.folder import FolderPlace
from deployments.store.places.types import StoreFailed
from deployments.store.verify import verify_place
from tests.unit.store.builders import (
    FailingPlace,
    Phases,
    a_model,
    contents,
    published,
    unseen,
)

# A model of 3,510 bytes takes three blocks of 4 KiB, its manifest included.
ONE_MODEL = 13_000


class Models:
    """A cache, and models published by name."""

    def __init__(self, tmp_path: Path, limit_bytes: int | None) -> None:
        self.cache = Cache(tmp_path / "cache", limit_bytes)
        self._folder = tmp_path

    def place(self, name: str) -> FolderPlace:
        place = FolderPlace(self._folder / "places" / name)
        if place.read("tandem-store.json") is None:
            published(a_model(self._folder / name, seed=len(name)), place)
        return place

    def obtain(self, name: str, asked_at: float) -> Held:
        place = self.place(name)
        held = self.cache.obtain(place, published(self._folder / name, place), unseen)
        os.utime(held.handle, (asked_at, asked_at))
        return held

    def names(self) -> list[str]:
        return [model.folder.name.split("-")[0] for model in self.cache.models()]


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path, 2 * ONE_MODEL)


def test_a_model_is_pulled_once(models: Models, tmp_path: Path) -> None:
    place = models.place("a")
    manifest = published(tmp_path / "a", place)
    models.cache.obtain(place, manifest, unseen).release()
    phases = Phases()

    held = models.cache.obtain(place, manifest, phases)

    assert phases.told == {}
    assert contents(held.folder) == contents(tmp_path / "a")
    held.release()


def test_the_least_recently_used_leaves_first(models: Models) -> None:
    for name, asked_at in (("a", 100.0), ("bb", 200.0), ("a", 300.0)):
        models.obtain(name, asked_at).release()

    models.obtain("ccc", 400.0).release()

    assert models.names() == ["a", "ccc"]


def test_what_runs_is_never_evicted(models: Models) -> None:
    running = models.obtain("a", 100.0)
    models.obtain("bb", 200.0).release()

    models.obtain("ccc", 300.0).release()

    assert models.names() == ["a", "ccc"]
    running.release()
    models.obtain("dddd", 400.0).release()
    assert models.names() == ["ccc", "dddd"]


def test_when_all_that_is_there_runs_the_refusal_names_it(models: Models) -> None:
    held = [models.obtain("a", 100.0), models.obtain("bb", 200.0)]

    with pytest.raises(StoreFailed, match=r"in use: a-\w+, bb-\w+.*TANDEM_STORE_LIMIT_GB"):
        models.obtain("ccc", 300.0)

    assert models.names() == ["a", "bb"]
    for each in held:
        each.release()


def test_a_model_that_can_never_fit_its_disk_evicts_nothing_that_runs(tmp_path: Path) -> None:
    models = Models(tmp_path, ONE_MODEL // 10)
    with pytest.raises(StoreFailed, match="lacks"):
        models.obtain("a", 100.0)


def test_a_model_larger_than_the_limit_evicts_nothing(models: Models, tmp_path: Path) -> None:
    models.obtain("a", 100.0).release()
    large = a_model(tmp_path / "bb", seed=2, **{"weights.bin": 3 * ONE_MODEL})
    published(large, FolderPlace(tmp_path / "places" / "bb"))

    with pytest.raises(StoreFailed, match="lacks"):
        models.obtain("bb", 200.0)

    assert "a" in models.names()


def test_a_lost_file_is_fetched_again(models: Models, tmp_path: Path) -> None:
    held = models.obtain("a", 100.0)
    held.release()
    (held.folder / "weights.bin").unlink()

    models.obtain("a", 200.0).release()

    assert contents(held.folder) == contents(tmp_path / "a")


def test_a_damaged_model_does_not_keep_the_room_of_what_replaces_it(tmp_path: Path) -> None:
    models = Models(tmp_path, 5 * ONE_MODEL)
    large = a_model(tmp_path / "a", **{"weights.bin": 3 * ONE_MODEL})
    published(large, FolderPlace(tmp_path / "places" / "a"))
    held = models.obtain("a", 100.0)
    held.release()
    (held.folder / "config.json").unlink()

    models.obtain("a", 200.0).release()

    assert contents(held.folder) == contents(tmp_path / "a")


def test_an_unfinished_pull_is_listed_and_can_be_evicted(models: Models, tmp_path: Path) -> None:
    place = models.place("a")
    failing = FailingPlace(Path(place.uri), 1)
    with pytest.raises(KeyboardInterrupt):
        models.cache.obtain(failing, published(tmp_path / "a", place), unseen)

    (model,) = models.cache.models()
    assert not model.is_whole
    assert models.cache.evict(0) == [model]
    assert models.cache.models() == []


def test_the_cache_is_where_and_as_large_as_the_environment_says(tmp_path: Path) -> None:
    cache = node_cache(tmp_path, {"TANDEM_STORE_CACHE": "/mnt/nvme", "TANDEM_STORE_LIMIT_GB": "9"})

    assert cache.root == Path("/mnt/nvme")
    assert node_cache(tmp_path, {}).root == tmp_path / "store"
    for wrong in ("-1", "nan", "inf", "200 GB"):
        with pytest.raises(StoreFailed, match=f"TANDEM_STORE_LIMIT_GB='{wrong}'"):
            node_cache(tmp_path, {"TANDEM_STORE_LIMIT_GB": wrong})


def test_pieces_of_replaced_versions_are_garbage_once_they_are_old(tmp_path: Path) -> None:
    # Given a place whose model was replaced, beside a folder that is not ours
    place, model = FolderPlace(tmp_path / "place"), a_model(tmp_path / "model")
    old = published(model, place)
    (model / "config.json").write_text("{}")
    published(model, place)
    (tmp_path / "place" / "notes").mkdir()
    (tmp_path / "place" / "notes" / "readme").write_text("mine")
    # When garbage is looked for, then only what is old enough is found, and nothing shared
    assert garbage(place, older_than_s=3600) == {}
    found = garbage(place, older_than_s=0)
    (replaced,) = (piece.key for piece in old.pieces if piece.file == "config.json")
    assert found == {replaced: 10}
    collect(place, found, older_than_s=3600)
    assert verify_place(place, unseen) == []
    assert "notes/readme" in place.sizes()


def test_what_a_push_that_never_published_left_is_garbage(tmp_path: Path) -> None:
    place = FailingPlace(tmp_path / "place", 2)
    with pytest.raises(KeyboardInterrupt):
        published(a_model(tmp_path / "model"), place)

    assert garbage(place, older_than_s=3600) == {}
    assert garbage(place, older_than_s=0) == place.sizes() != {}


def test_a_version_that_was_replaced_just_now_is_spared_however_old_it_is(tmp_path: Path) -> None:
    # Given a version of last month, which replicas that start now may still be reading
    place, model = FolderPlace(tmp_path / "place"), a_model(tmp_path / "model")
    published(model, place)
    for path in (tmp_path / "place").rglob("*"):
        os.utime(path, (100.0, 100.0))
    # When it is replaced
    (model / "config.json").write_text("{}")
    published(model, place)
    # Then it is garbage only when it has been out of use for long enough
    assert garbage(place, older_than_s=3600) == {}
    assert len(garbage(place, older_than_s=0)) == 1


def test_a_place_without_a_model_has_no_garbage_to_collect(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="no model was published here"):
        garbage(FolderPlace(tmp_path), 0)


def test_what_a_killed_push_left_half_written_is_removed(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "place")
    published(a_model(tmp_path / "model"), place)
    half = tmp_path / "place" / ".pieces" / ".writing-x"
    half.write_bytes(b"half")

    assert collect(place, [], older_than_s=-1) == 1
    assert not half.exists()


def test_a_rollback_during_garbage_collection_loses_nothing(tmp_path: Path) -> None:
    # Given garbage of a version that was replaced
    place, model = FolderPlace(tmp_path / "place"), a_model(tmp_path / "model")
    published(model, place)
    before = (model / "config.json").read_bytes()
    (model / "config.json").write_text("{}")
    published(model, place)
    found = garbage(place, older_than_s=0)
    # When that version is published again before it is deleted
    (model / "config.json").write_bytes(before)
    published(model, place)
    collect(place, found, older_than_s=3600)
    # Then it is whole
    assert verify_place(place, unseen) == []


def test_a_rollback_that_garbage_collection_did_not_see_in_time_is_told(tmp_path: Path) -> None:
    # Given a version that is published again just while what it needs is deleted
    place, model = FolderPlace(tmp_path / "place"), a_model(tmp_path / "model")
    published(model, place)
    manifest = place.read(MANIFEST)
    assert manifest is not None
    (model / "config.json").write_text("{}")
    published(model, place)

    class LatePlace(FolderPlace):
        def delete(self, keys: list[str]) -> None:
            super().delete(keys)
            self.write(MANIFEST, manifest)

    late = LatePlace(tmp_path / "place")
    # When it is collected, then whoever did so hears what to do
    with pytest.raises(StoreFailed, match="Push that model again"):
        collect(late, garbage(late, older_than_s=0), older_than_s=3600)
