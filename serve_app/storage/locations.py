"""Where a URI leads. A text from the configuration in, a Storage out; touches nothing yet."""

import re
from pathlib import Path
from urllib.parse import unquote

from serve_app.storage.local import LocalStorage
from serve_app.storage.s3 import S3Storage
from serve_app.storage.types import SharedStorage

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FORMS = "'/folder/file', '~/folder/file', 'file:///folder/file' or 's3://bucket/key'"


def open_storage(uri: str) -> SharedStorage:
    """The storage that a URI names; nothing is read or written before `load` or `save`.

    >>> open_storage("s3://models/tandem/state").load()

    Raises:
        ValueError: when the URI has none of the valid forms.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return LocalStorage(_file(uri, uri))
    if uri.lower().startswith("s3://"):
        bucket, _, key = uri[len("s3://") :].partition("/")
        if not bucket or not key or key.endswith("/"):
            raise _invalid(uri, "it must name a bucket and the key of one object")
        return S3Storage(bucket, key)
    if uri.lower().startswith("file:///"):
        return LocalStorage(_file(uri, unquote(uri[len("file://") :])))
    if scheme[1].lower() == "file":
        raise _invalid(uri, "a file URI has three slashes and no host")
    raise _invalid(uri, f"{scheme[1]!r} is not a known kind of storage")


def _file(uri: str, path: str) -> Path:
    if not path.strip() or "\0" in path:
        raise _invalid(uri, "it names no file")
    if path.endswith("/"):
        raise _invalid(uri, "it must name a file, not a folder")
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as err:
        raise _invalid(uri, "the home folder it names is not known") from err


def _invalid(uri: str, reason: str) -> ValueError:
    return ValueError(f"The storage {uri!r} is not valid: {reason}. Valid forms: {_FORMS}.")
