"""A 2 GB model on S3: its transfers are killed three times each, and one object is damaged."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from deployments.store.places.s3 import S3Place
from deployments.store.transfer.push import published_manifest
from serve_app.bench.store import synthetic_model
from tests.killing import finish, kill_when, num_pulled, tandem_store
from tests.s3 import s3_server, set_aws_environment

URI = "s3://models/large"
NUM_BYTES = 2_000_000_000
# Of 65: eight shards of eight pieces each, and a small file.
KILLED_AFTER_PIECES = (4, 20, 44)


@pytest.fixture(scope="module")
def place() -> Iterator[S3Place]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        s3_server() as endpoint,
        closing(S3Place("models", "large")) as place,
    ):
        set_aws_environment(endpoint, monkeypatch)
        boto3.session.Session().client("s3").create_bucket(Bucket="models")
        yield place


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_model(tmp_path_factory.mktemp("store") / "model", NUM_BYTES)


def test_a_push_that_is_killed_three_times_ends_whole(
    place: S3Place, model: Path, tmp_path: Path
) -> None:
    # Given three pushes that were killed, each further on, of which no reader sees anything
    for count in KILLED_AFTER_PIECES:
        killed = tandem_store("push", str(model), URI)
        kill_when(killed, reaches(count, lambda: len(place.sizes())))
    assert published_manifest(place) is None
    # When it is run once more, then it sends the rest, and all of it is right
    report = reported(tmp_path, "push", str(model), URI)
    assert 0 < report["sent_bytes"] < NUM_BYTES / 2
    finish(tandem_store("verify", URI))


def test_a_pull_that_is_killed_three_times_ends_whole(
    place: S3Place, model: Path, tmp_path: Path
) -> None:
    # Given three pulls that were killed, each further on, and no folder yet
    finish(tandem_store("push", str(model), URI))
    pulled = tmp_path / "pulled"
    for count in KILLED_AFTER_PIECES:
        killed = tandem_store("pull", URI, str(pulled))
        kill_when(killed, reaches(count, lambda: num_pulled(tmp_path)))
    assert not pulled.exists()
    # When it is run once more, then it fetches the rest, and all of it is right
    report = reported(tmp_path, "pull", URI, str(pulled))
    assert 0 < report["fetched_bytes"] < NUM_BYTES / 2
    finish(tandem_store("verify", str(pulled)))


def test_a_damaged_object_is_named_until_it_is_sent_again(
    place: S3Place, model: Path, tmp_path: Path
) -> None:
    # Given one wrong byte among two billion
    finish(tandem_store("push", str(model), URI))
    manifest = published_manifest(place)
    assert manifest is not None
    damaged = manifest.pieces[3]
    data = bytearray(place.read(damaged.key) or b"")
    data[len(data) // 2] ^= 1
    place.write(damaged.key, bytes(data))
    # When it is read, then it is named
    for command in (("verify", URI), ("pull", URI, str(tmp_path / "pulled"))):
        process = tandem_store(*command)
        output, _ = process.communicate()
        assert process.returncode == 1
        assert damaged.name in output.decode()
        assert "is corrupted" in output.decode()
    # And when it is sent again, all is well
    finish(tandem_store("push", str(model), URI, "--overwrite"))
    finish(tandem_store("verify", URI))


def reaches(count: int, number: Callable[[], int]) -> Callable[[], bool]:
    return lambda: number() >= count


def reported(folder: Path, *arguments: str) -> Any:
    """What the command says in its report, once it has ended well."""
    report = folder / "report.json"
    finish(tandem_store(*arguments, "--json", str(report)))
    return json.loads(report.read_text())
