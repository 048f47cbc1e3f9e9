"""Which place a URI names."""

import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.storage.local import LocalStorage
from serve_app.storage.locations import open_storage
from serve_app.storage.s3 import S3Storage


@pytest.mark.parametrize("form", ["{}/a state", "file://{}/a%20state"])
def test_paths_and_file_uris_are_files(tmp_path: Path, form: str) -> None:
    storage = open_storage(form.format(tmp_path))
    storage.save(b"one")
    assert isinstance(storage, LocalStorage)
    assert (tmp_path / "a state").read_bytes() == b"one"


def test_a_tilde_and_a_relative_path_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    open_storage("~/state").save(b"one")
    assert open_storage("./state").load() == b"one"


@pytest.mark.parametrize("uri", ["s3://bucket/key", "S3://bucket/folder/key with ?#"])
def test_s3_uris_are_objects(uri: str) -> None:
    assert isinstance(open_storage(uri), S3Storage)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "no file"),
        (" ", "no file"),
        ("/a/\0", "no file"),
        ("/folder/", "not a folder"),
        ("file:///folder/", "not a folder"),
        ("file://host/state", "three slashes"),
        ("file:state", "three slashes"),
        ("~nobody-of-this-name/state", "home folder"),
        ("s3://", "bucket and the key"),
        ("s3://bucket", "bucket and the key"),
        ("s3:///key", "bucket and the key"),
        ("s3://bucket/folder/", "bucket and the key"),
        ("s3:bucket/key", "'s3' is not"),
        ("gs://bucket/key", "'gs' is not"),
    ],
)
def test_another_uri_is_refused_with_the_valid_forms(uri: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        open_storage(uri)
    assert repr(uri) in str(refused.value)
    assert "'s3://bucket/key'" in str(refused.value)


def test_boto3_is_not_loaded_before_it_is_used() -> None:
    program = (
        "import sys, serve_app.storage.keeper\n"
        "from serve_app.storage.locations import open_storage\n"
        "open_storage('s3://bucket/key')\n"
        "print([name for name in ('boto3', 'botocore') if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
