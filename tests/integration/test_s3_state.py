"""State on S3, over HTTP: moto's server speaks the protocol."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import httpx
import pytest

from serve_app.storage.locations import open_storage
from serve_app.storage.types import MAX_BYTES, StorageFailed
from tests.s3 import s3_server, set_aws_environment


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_aws_environment(endpoint, monkeypatch)


@pytest.fixture
def bucket(environment: None) -> Iterator[str]:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="tandem-state")
    yield "tandem-state"
    for item in client.list_objects_v2(Bucket="tandem-state").get("Contents", []):
        client.delete_object(Bucket="tandem-state", Key=item["Key"])
    client.delete_bucket(Bucket="tandem-state")
    client.close()


def test_what_was_saved_is_loaded_by_the_next_router(bucket: str) -> None:
    uri = f"s3://{bucket}/routers/state of a ü"
    open_storage(uri).save(b"one")
    storage = open_storage(uri)
    storage.save(b"two" * 500_000)
    assert open_storage(uri).load() == b"two" * 500_000


def test_a_missing_key_is_no_state_yet(bucket: str) -> None:
    assert open_storage(f"s3://{bucket}/missing").load() is None


@pytest.mark.parametrize("before", [None, b"one "])
def test_a_change_is_made_again_when_somebody_else_was_faster(
    bucket: str, before: bytes | None
) -> None:
    # Given somebody who writes whenever we have just read, three times
    uri, seen = f"s3://{bucket}/keys", list[bytes | None]()
    if before is not None:
        open_storage(uri).save(before)

    def changed(data: bytes | None) -> bytes:
        seen.append(data)
        if len(seen) <= 3:
            open_storage(uri).save((data or b"") + b"theirs ")
        return (data or b"") + b"ours"

    # When we change it
    open_storage(uri).change(changed)
    # Then nothing is lost
    assert open_storage(uri).load() == (before or b"") + b"theirs theirs theirs ours"


def test_who_never_gets_a_turn_is_told(bucket: str) -> None:
    uri = f"s3://{bucket}/keys"

    def changed(data: bytes | None) -> bytes:
        open_storage(uri).save((data or b"") + b"theirs ")
        return b"ours"

    with pytest.raises(StorageFailed, match=r"others replaced it 8 times meanwhile\. Try again"):
        open_storage(uri).change(changed)


def test_a_missing_bucket_says_so(endpoint: str) -> None:
    storage = open_storage("s3://tandem-other/state")
    with pytest.raises(StorageFailed, match=r"could not be read: .*Create the bucket"):
        storage.load()
    with pytest.raises(StorageFailed, match=r"could not be written: .*Create the bucket"):
        storage.save(b"one")


def test_missing_rights_are_named(
    bucket: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a user who may do nothing
    iam = boto3.session.Session().client("iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    storage = open_storage(f"s3://{bucket}/state")
    # When rights are checked, then both calls say what is needed
    with rights_checked(endpoint):
        with pytest.raises(StorageFailed, match=r"read: .*AccessDenied.*Allow s3:GetObject"):
            storage.load()
        with pytest.raises(StorageFailed, match=r"written: .*AccessDenied.*Allow s3:GetObject"):
            storage.save(b"two")


@contextmanager
def rights_checked(endpoint: str) -> Iterator[None]:
    """moto lets everyone in until this many calls were made."""
    httpx.post(f"{endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        yield
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content=b"inf").raise_for_status()


def test_an_endpoint_that_does_not_answer_is_given_up_soon(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    began_s = time.monotonic()
    with pytest.raises(StorageFailed, match="AWS_ENDPOINT_URL"):
        open_storage(f"s3://{bucket}/state").load()
    assert time.monotonic() - began_s < 15


@pytest.mark.parametrize(
    ("uri", "changes"),
    [
        ("s3://Not_A_Bucket/state", {}),
        ("s3://tandem-state/state", {"AWS_ENDPOINT_URL": "no url"}),
        ("s3://tandem-state/state", {"AWS_PROFILE": "not-there"}),
    ],
)
def test_bad_settings_are_one_clear_error(
    uri: str, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageFailed, match=f"The state at {uri} could not be read: ") as failed:
        open_storage(uri).load()
    assert "\n" not in str(failed.value)


def test_an_object_that_is_too_large_is_refused_unread(bucket: str) -> None:
    boto3.session.Session().client("s3").put_object(
        Bucket=bucket, Key="large", Body=bytes(MAX_BYTES + 1)
    )
    with pytest.raises(StorageFailed, match="the limit is 67,108,864"):
        open_storage(f"s3://{bucket}/large").load()
