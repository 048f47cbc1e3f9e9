"""What a key looks like and how its secret is kept. Texts in, texts out; never stores a secret.

A key is `sk-tandem-<id>-<secret>`. The id finds the entry; of the secret only a salted BLAKE2b hash
is kept. That is enough, and a slow hash would not be better: the secret is 256 random bits, which
nobody can try out, whatever a try costs. So a check takes microseconds and needs no cache.
"""

import hashlib
import hmac
import secrets
import string
from collections.abc import Callable
from typing import NamedTuple

_PREFIX = "sk-tandem-"
_ID_ALPHABET = string.ascii_lowercase + string.digits
_ID_LENGTH = 12
_SECRET_BYTES = 32
_SALT_BYTES = 16
_SCHEME = "blake2b"


class Presented(NamedTuple):
    """A key as a caller presents it."""

    key_id: str
    secret: str


def new_key_id() -> str:
    """A public name for a key; twelve letters and digits."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


def new_secret() -> str:
    """256 random bits as 43 characters that need no escaping anywhere."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def whole_key(key_id: str, secret: str) -> str:
    """What the caller is given, once.

    >>> whole_key("abc", "xyz")
    'sk-tandem-abc-xyz'
    """
    return f"{_PREFIX}{key_id}-{secret}"


def presented(token: str) -> Presented | None:
    """The parts of a key, or None when it does not look like one of ours."""
    if not token.startswith(_PREFIX):
        return None
    key_id, dash, secret = token.removeprefix(_PREFIX).partition("-")
    return Presented(key_id, secret) if dash and key_id and secret else None


def hashed(secret: str) -> str:
    """`blake2b:<salt>:<digest>`, both hexadecimal, with a salt of its own."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"{_SCHEME}:{salt.hex()}:{_digest(secret, salt).hex()}"


def parts_of(kept: str) -> tuple[bytes, bytes]:
    """Salt and digest of a kept hash.

    Raises:
        ValueError: it is not one that `hashed` makes.
    """
    scheme, _, rest = kept.partition(":")
    salt, _, digest = rest.partition(":")
    if scheme != _SCHEME or len(salt) != 2 * _SALT_BYTES or len(digest) != 64:
        raise ValueError("hash: must be `blake2b:<salt>:<digest>`, as `tandem keys create` makes")
    return bytes.fromhex(salt), bytes.fromhex(digest)


def is_secret_of(
    secret: str, kept: str, is_equal: Callable[[bytes, bytes], bool] = hmac.compare_digest
) -> bool:
    """Whether `secret` is the one behind a kept hash, in a time that does not depend on either."""
    salt, digest = parts_of(kept)
    return is_equal(_digest(secret, salt), digest)


def _digest(secret: str, salt: bytes) -> bytes:
    return hashlib.blake2b(secret.encode(), digest_size=32, salt=salt).digest()
