"""Where models lie: a URI in, a Place out; nothing is touched before its first call.

>>> open_place("s3://models/zephyr-7b").uri
's3://models/zephyr-7b'
"""

from pathlib import Path
from urllib.parse import unquote

from deployments.store.places.folder import FolderPlace
from deployments.store.places.s3 import S3Place
from deployments.store.places.types import Place, StoreFailed

_FORMS = "'s3://bucket/prefix', '/folder', '~/folder' or 'file:///folder'"


def open_place(uri: str, max_bytes_per_s: int | None = None) -> Place:
    """
    Args:
        max_bytes_per_s: of transfers with S3 together; None: no limit.

    Raises:
        StoreFailed: when the URI has none of the valid forms.
    """
    scheme, has_scheme, rest = uri.partition("://")
    if not has_scheme:
        return FolderPlace(_folder(uri, uri))
    if scheme.lower() == "s3":
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise _invalid(uri, "it names no bucket")
        return S3Place(bucket, prefix.strip("/"), max_bytes_per_s)
    if scheme.lower() == "file" and rest.startswith("/"):
        return FolderPlace(_folder(uri, unquote(rest)))
    raise _invalid(uri, f"{scheme!r} with {rest.split('/')[0]!r} is not a known kind of place")


def _folder(uri: str, path: str) -> Path:
    if not path.strip() or "\0" in path:
        raise _invalid(uri, "it names no folder")
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as err:
        raise _invalid(uri, "the home folder it names is not known") from err


def _invalid(uri: str, reason: str) -> StoreFailed:
    return StoreFailed(uri, "found", reason, f"Valid forms: {_FORMS}.")
