import hashlib
import json
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.store.hashing import make_manifest
from deployments.store.manifest import Manifest, Piece, read_manifest
from deployments.store.places import open_place
from deployments.store.places.runs import Runs
from deployments.store.places.types import Run, StoreFailed
from deployments.store.places.window import Window
from tests.unit.store.builders import PIECE_BYTES, a_model


def a_manifest(folder: Path) -> Manifest:
    return made_of(folder, PIECE_BYTES)


def made_of(model: Path, piece_bytes: int) -> Manifest:
    return make_manifest(model, piece_bytes, lambda _: None)


def test_files_have_the_sums_that_sha256sum_prints(tmp_path: Path) -> None:
    model = a_model(tmp_path)

    manifest = a_manifest(model)

    for file in manifest.files:
        assert file.sha256 == hashlib.sha256((model / file.name).read_bytes()).hexdigest()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    manifest = a_manifest(a_model(tmp_path))

    assert read_manifest(manifest.to_json(), "s3://models/m") == manifest


def test_the_version_names_the_content_and_not_how_it_was_cut(tmp_path: Path) -> None:
    one, two = a_model(tmp_path / "one"), a_model(tmp_path / "two")
    other = a_model(tmp_path / "other", seed=2)

    assert a_manifest(one).version == made_of(two, 10 * PIECE_BYTES).version
    assert a_manifest(one).version != a_manifest(other).version


def test_a_piece_is_told_as_soon_as_it_was_read(tmp_path: Path) -> None:
    # Given a file that is read last, and that is replaced when the first piece of another is told
    model = a_model(tmp_path / "model", **{f"{index:03d}": 10 for index in range(100)})
    (model / "z").write_bytes(b"before")
    (tmp_path / "new").write_bytes(b"after")

    is_replaced = Event()

    def change(piece: Piece) -> None:
        if piece.file == "000":
            (tmp_path / "new").replace(model / "z")
            is_replaced.set()
        is_replaced.wait()

    # When all are read, then it was not read yet by then
    manifest = make_manifest(model, PIECE_BYTES, change)
    assert manifest.files[-1].sha256 == hashlib.sha256(b"after").hexdigest()


def test_a_sum_that_is_none_cannot_name_an_object(tmp_path: Path) -> None:
    document = json.loads(a_manifest(a_model(tmp_path)).to_json())
    document["files"]["config.json"]["pieces"][0]["sha256"] = "../../other"

    with pytest.raises(StoreFailed, match="is no SHA-256"):
        read_manifest(json.dumps(document).encode(), "s3://models/m")


@pytest.mark.parametrize("make", ["link", "circle"])
def test_folders_behind_links_belong_to_the_model(make: str, tmp_path: Path) -> None:
    model = a_model(tmp_path / "model")
    (model / "linked").symlink_to(a_model(tmp_path / "real") if make == "link" else model)

    names = {file.name for file in a_manifest(model).files}

    own = {"weights.bin", "config.json", "sub/empty"}
    assert names == own | ({f"linked/{name}" for name in own} if make == "link" else set())


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", ""])
def test_a_manifest_cannot_write_outside_the_model(name: str, tmp_path: Path) -> None:
    document = json.loads(a_manifest(a_model(tmp_path)).to_json())
    document["files"][name] = document["files"].pop("config.json")

    with pytest.raises(StoreFailed, match="no path inside the model"):
        read_manifest(json.dumps(document).encode(), "s3://models/m")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"[]", "cannot be read"),
        (b'{"format": 1}', "format is 1"),
        (b'{"format": 2, "version": "0", "files": {}}', "does not fit the files"),
    ],
)
def test_a_damaged_manifest_says_so(data: bytes, reason: str) -> None:
    with pytest.raises(StoreFailed, match=reason):
        read_manifest(data, "s3://models/m")


def test_sizes_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    document = json.loads(a_manifest(a_model(tmp_path)).to_json())
    document["files"]["weights.bin"]["bytes"] += 1

    with pytest.raises(StoreFailed, match=r"'weights\.bin' do not add up"):
        read_manifest(json.dumps(document).encode(), "s3://models/m")


@pytest.mark.parametrize("make", ["missing", "empty"])
def test_a_folder_without_files_is_refused(make: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreFailed, match=r"no folder|no files"):
        a_manifest(tmp_path / make)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://models/zephyr/", "s3://models/zephyr"),
        ("s3://models", "s3://models"),
        ("file:///mnt/my%20models", "/mnt/my models"),
        ("/mnt/models", "/mnt/models"),
    ],
)
def test_a_place_is_named_by_its_uri(uri: str, found: str) -> None:
    assert open_place(uri).uri == found


@pytest.mark.parametrize("uri", ["gs://models/zephyr", "s3://", "file://host/folder", " "])
def test_another_uri_is_refused_with_the_valid_forms(uri: str) -> None:
    with pytest.raises(StoreFailed, match="Valid forms: 's3://bucket/prefix'"):
        open_place(uri)


@given(data=st.binary(max_size=50), offset=st.integers(0, 20), size=st.integers(0, 20))
def test_a_window_is_the_run_of_bytes_that_it_names(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, offset: int, size: int
) -> None:
    path = tmp_path_factory.mktemp("window") / "file"
    path.write_bytes(data)
    with Window.of(path, offset, size) as window:
        assert window.read() == data[offset : offset + size]
        assert window.seek(0, 2) == size


def test_nothing_is_written_past_a_window(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    with path.open("r+b") as file:
        window = Window(file.fileno(), 2, 4)
        window.write(b"abcd")
        with pytest.raises(ValueError, match="past the window"):
            window.write(b"e")
    assert path.read_bytes() == b"\0\0abcd\0\0\0\0"


def test_a_run_of_a_file_that_became_shorter_is_not_sent(tmp_path: Path) -> None:
    path, runs = tmp_path / "file", Runs()
    path.write_bytes(bytes(10))
    with runs.named("key", Run(path, 2, 8, "")) as name:
        with runs.open(name, "rb") as run:
            assert (runs.get_file_size(name), len(run.read())) == (8, 8)
        path.write_bytes(bytes(9))
        with pytest.raises(OSError, match="became shorter"):
            runs.open(name, "rb")
