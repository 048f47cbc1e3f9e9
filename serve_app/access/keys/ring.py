"""All keys that are valid now, and who presents one. A header in, a Key out."""

import hmac
from collections.abc import Callable, Iterable

from serve_app.access.keys.key import Key
from serve_app.access.keys.secret import hashed, is_secret_of, presented
from serve_app.errors import InvalidKey

_HOW = "Send it as `authorization: Bearer sk-tandem-...`; `tandem keys create` makes one."


class KeyRing:
    """Finds the key that an `authorization` header presents.

    Args:
        is_equal: compares two digests in constant time.
    """

    def __init__(
        self, keys: Iterable[Key], is_equal: Callable[[bytes, bytes], bool] = hmac.compare_digest
    ) -> None:
        self._keys = {key.id: key for key in keys}
        self._is_equal = is_equal
        # Compared with when an id is unknown, so that this takes as long as a wrong secret.
        self._nobody = hashed("")

    def __len__(self) -> int:
        return sum(not key.is_revoked for key in self._keys.values())

    def find(self, authorization: str | None) -> Key:
        """The key of a request.

        Raises:
            InvalidKey: none, malformed, unknown, wrong or revoked; never says which part is wrong.
        """
        if not authorization:
            raise InvalidKey(f"An API key is required. {_HOW}")
        scheme, _, token = authorization.partition(" ")
        parts = presented(token.strip()) if scheme.lower() == "bearer" else None
        if parts is None:
            raise InvalidKey(f"The authorization header holds no key of this server. {_HOW}")
        key = self._keys.get(parts.key_id)
        is_right = is_secret_of(parts.secret, key.hash if key else self._nobody, self._is_equal)
        if key is None or not is_right:
            raise InvalidKey("The API key is not valid here. Ask whoever runs this server for one.")
        if key.is_revoked:
            raise InvalidKey("The API key was revoked. Ask whoever runs this server for another.")
        return key
