"""Models on S3 or whatever speaks its protocol, through boto3's transfer manager.

Credentials, region and endpoint come from the usual AWS settings. boto3 is imported by the first
call: it costs 0.3 s and 20 MB.
"""

import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, BinaryIO

from deployments.store.places.folder import wrong_size
from deployments.store.places.s3_errors import code_of, failing, remedy_for
from deployments.store.places.types import OnBytes, Run, StoreFailed

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 60
_ATTEMPTS = 5
# A piece is sent in one request, and S3 takes no more in one.
_MOST_SENT_BYTES = 5 * 2**30
_PART_BYTES = 32 * 2**20
# Over all pieces.
_REQUESTS = 20
_DELETE_AT_ONCE = 1000


class S3Place:
    """Objects below one prefix of a bucket.

    Args:
        max_bytes_per_s: of all transfers together, for a network that also serves; None: no limit.
    """

    def __init__(self, bucket: str, prefix: str, max_bytes_per_s: int | None = None) -> None:
        self._bucket = bucket
        self._max_bytes_per_s = max_bytes_per_s
        self._prefix = f"{prefix}/" if prefix else ""
        self._under_way: set[Any] = set()
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    def read(self, key: str) -> bytes | None:
        from botocore.exceptions import ClientError

        with failing(self.uri, "read"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            except ClientError as err:
                if code_of(err) == "NoSuchKey":
                    return None
                raise
            with answer["Body"] as body:
                data: bytes = body.read()
            return data

    def write(self, key: str, data: bytes) -> None:
        with failing(self.uri, "written"):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def sizes(self) -> dict[str, int]:
        return {key: entry["Size"] for key, entry in self._objects()}

    def ages_s(self) -> dict[str, float]:
        now = datetime.now(UTC)
        return {
            key: (now - entry["LastModified"]).total_seconds() for key, entry in self._objects()
        }

    def upload(self, run: Run, key: str, on_bytes: OnBytes) -> None:
        subscriber, sums = _subscriber(run.num_bytes, on_bytes), {}
        if self._client.meta.config.request_checksum_calculation != "when_required":
            # Known already, and S3 refuses other bytes; botocore would take a CRC of its own.
            sums = {"ChecksumSHA256": b64encode(bytes.fromhex(run.sha256)).decode()}
        with (
            failing(self.uri, "written"),
            self._connection.runs.named(self._prefix + key, run) as name,
        ):
            future = self._connection.sending.upload(
                name, self._bucket, name, extra_args=sums, subscribers=[subscriber]
            )
            self._wait_for(future)

    def download(self, key: str, num_bytes: int, target: BinaryIO, on_bytes: OnBytes) -> None:
        with failing(self.uri, "read"):
            head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            if head["ContentLength"] != num_bytes:
                raise wrong_size(self.uri, key, head["ContentLength"], num_bytes)
            subscriber = _subscriber(num_bytes, on_bytes, head["ETag"])
            future = self._connection.fetching.download(
                self._bucket, self._prefix + key, target, subscribers=[subscriber]
            )
            self._wait_for(future)

    def delete(self, keys: list[str]) -> None:
        with failing(self.uri, "deleted"):
            for start in range(0, len(keys), _DELETE_AT_ONCE):
                batch = keys[start : start + _DELETE_AT_ONCE]
                objects = [{"Key": self._prefix + key} for key in batch]
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )
                for error in answer.get("Errors", []):
                    raise StoreFailed(
                        self.uri, "deleted", f"{error['Key']}: {error['Message']}",
                        remedy_for(error["Code"]),
                    )  # fmt: skip

    def abort_unfinished(self, older_than_s: float) -> int:
        count = 0
        with failing(self.uri, "deleted"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for upload in (entry for page in pages for entry in page.get("Uploads", [])):
                if time.time() - upload["Initiated"].timestamp() > older_than_s:
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    count += 1
        return count

    def cancel(self) -> None:
        # Not the managers: one that is shut down waits for ever for what comes to it after.
        for future in list(self._under_way):
            future.cancel()

    def close(self) -> None:
        if "_connection" in vars(self):
            self._connection.sending.shutdown()
            self._connection.fetching.shutdown()
            self._client.close()

    def _wait_for(self, future: Any) -> None:
        self._under_way.add(future)
        try:
            future.result()
        finally:
            self._under_way.discard(future)

    def _objects(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with failing(self.uri, "listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for entry in page.get("Contents", []):
                    yield entry["Key"].removeprefix(self._prefix), entry

    @cached_property
    def _connection(self) -> "_Connection":
        # Whoever moves pieces in many threads has read the manifest before, in one.
        return _connect(self._max_bytes_per_s)

    @property
    def _client(self) -> Any:
        return self._connection.client


@dataclass(frozen=True, slots=True)
class _Connection:
    """boto3's client, and its transfer managers for both ways. runs: what the sending one opens."""

    client: Any
    sending: Any
    fetching: Any
    runs: Any


def _connect(max_bytes_per_s: int | None) -> _Connection:
    import boto3
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from botocore.config import Config

    from deployments.store.places.runs import Runs

    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        max_pool_connections=_REQUESTS + 4,
        # Bodies go unsigned over plain HTTP too, as botocore sends them over TLS: S3 is told the
        # SHA-256 of each piece anyway, and its replies are never signed.
        s3={"payload_signing_enabled": False},
    )
    # A session of its own: boto3's default one must not be shared between threads.
    client = boto3.session.Session().client("s3", config=config)

    def transfers(part_bytes: int, osutil: Any = None) -> Any:
        config = TransferConfig(
            multipart_threshold=part_bytes + 1,
            multipart_chunksize=part_bytes,
            max_concurrency=_REQUESTS,
            io_chunksize=2**20,
            max_bandwidth=max_bytes_per_s,
            # The other one, where it is chosen, opens files by itself and knows no runs.
            preferred_transfer_client="classic",
        )
        return create_transfer_manager(client, config, osutil)

    runs = Runs()
    return _Connection(client, transfers(_MOST_SENT_BYTES, runs), transfers(_PART_BYTES), runs)


def _subscriber(num_bytes: int, on_bytes: OnBytes, etag: str | None = None) -> Any:
    from s3transfer.subscribers import BaseSubscriber  # type: ignore[import-untyped]

    class Subscriber(BaseSubscriber):  # type: ignore[misc]
        def on_queued(self, future: Any, **_: Any) -> None:
            # Spares a request.
            future.meta.provide_transfer_size(num_bytes)
            if etag is not None:
                future.meta.provide_object_etag(etag)

        def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:
            on_bytes(bytes_transferred)

    return Subscriber()
