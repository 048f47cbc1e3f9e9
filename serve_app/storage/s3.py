"""State in one S3 object. Credentials, region and endpoint come from the usual AWS settings.

boto3 is imported by the first call: it costs 0.3 s and 20 MB, and most routers use a file.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from serve_app.storage.types import MAX_BYTES, StorageFailed, check_size

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_CONNECT_TIMEOUT_S = 3
_READ_TIMEOUT_S = 5
_ATTEMPTS = 3
_CHANGES = 8
_REPLACED = ("PreconditionFailed", "ConditionalRequestConflict")

_REMEDIES = {
    "NoSuchBucket": "Create the bucket, or correct its name.",
    "AccessDenied": (
        "Allow s3:GetObject, s3:PutObject and s3:ListBucket; without the last one a missing key "
        "reads as forbidden."
    ),
}
_REMEDY = (
    "Check the AWS credentials, region and AWS_ENDPOINT_URL of the router's environment, "
    "and that the endpoint can be reached from here."
)


class S3Storage:
    """One object. A call gives up after 3 attempts of at most 8 s without an answer each."""

    def __init__(self, bucket: str, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._uri = f"s3://{bucket}/{key}"

    def load(self) -> bytes | None:
        return self._load()[0]

    def save(self, data: bytes) -> None:
        self._save(data)

    def change(self, changed: Callable[[bytes | None], bytes]) -> None:
        for _ in range(_CHANGES):
            data, tag = self._load()
            condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
            if self._save(changed(data), **condition):
                return
        reason = f"others replaced it {_CHANGES} times meanwhile"
        raise StorageFailed(self._uri, "written", reason, "Try again.")

    def _load(self) -> tuple[bytes | None, str | None]:
        """What is there, and a tag that another value has not; None twice where nothing is."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key)
            with answer["Body"] as body:
                check_size(self._uri, "read", answer["ContentLength"])
                data: bytes = body.read(MAX_BYTES + 1)
        except ClientError as err:
            if _code(err) == "NoSuchKey":
                return None, None
            raise self._refused("read", err) from err
        except (BotoCoreError, OSError, ValueError) as err:
            raise StorageFailed(self._uri, "read", _reason(err), _REMEDY) from err
        check_size(self._uri, "read", len(data))
        return data, answer["ETag"]

    def _save(self, data: bytes, **condition: str) -> bool:
        """Whether it was saved; not where the condition did not hold."""
        from botocore.exceptions import BotoCoreError, ClientError

        check_size(self._uri, "written", len(data))
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key, Body=data, **condition)
        except ClientError as err:
            if condition and _code(err) in _REPLACED:
                return False
            raise self._refused("written", err) from err
        except (BotoCoreError, OSError, ValueError) as err:
            raise StorageFailed(self._uri, "written", _reason(err), _REMEDY) from err
        return True

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            # S3-compatible servers refuse the checksum trailers that boto3 sends by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        # A session of its own: boto3's default one must not be shared between threads.
        return boto3.session.Session().client("s3", config=config)

    def _refused(self, verb: str, err: "ClientError") -> StorageFailed:
        remedy = _REMEDIES.get(_code(err), _REMEDY)
        return StorageFailed(self._uri, verb, _reason(err), remedy)


def _code(err: "ClientError") -> str:
    return str(err.response["Error"]["Code"])


def _reason(err: Exception) -> str:
    """One line of what botocore says; a bad AWS_ENDPOINT_URL is a bare ValueError there."""
    return " ".join(str(err).split()).rstrip(".")
