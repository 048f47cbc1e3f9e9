"""What botocore says, as one sentence with a remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deployments.store.places.types import StoreFailed

_REMEDIES = {
    "NoSuchBucket": "Create the bucket, or correct its name.",
    "AccessDenied": (
        "Allow s3:GetObject and s3:ListBucket, to push also s3:PutObject, to collect garbage "
        "s3:DeleteObject; cluster/iam/ has such policies."
    ),
    "404": "Push the model again: an object that its manifest lists is gone.",
    "NoSuchKey": "Push the model again: an object that its manifest lists is gone.",
}
_CHANGED = "Run it again: the object was replaced while it was read."
_REMEDY = (
    "Check the AWS credentials, region and AWS_ENDPOINT_URL, and that the endpoint can be reached "
    "from here."
)


@contextmanager
def failing(uri: str, verb: str) -> Iterator[None]:
    """Turns errors of S3 into StoreFailed."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import (  # type: ignore[import-untyped]
        RetriesExceededError,
        S3DownloadFailedError,
    )

    try:
        yield
    except ClientError as err:
        raise StoreFailed(uri, verb, _reason(err), remedy_for(code_of(err))) from err
    # Of the transfer manager itself, which boto3's own methods would have turned into boto3's.
    except RetriesExceededError as err:
        raise StoreFailed(uri, verb, _reason(err.last_exception), _REMEDY) from err
    except S3DownloadFailedError as err:
        raise StoreFailed(uri, verb, _reason(err), _CHANGED) from err
    except (BotoCoreError, Boto3Error, OSError, ValueError) as err:
        raise StoreFailed(uri, verb, _reason(err), _REMEDY) from err


def remedy_for(code: str) -> str:
    return _REMEDIES.get(code, _REMEDY)


def code_of(err: Any) -> str:
    return str(err.response["Error"]["Code"])


def _reason(err: Exception) -> str:
    """One line of what botocore says; a bad AWS_ENDPOINT_URL is a bare ValueError there."""
    return " ".join(str(err).split()).rstrip(".")
