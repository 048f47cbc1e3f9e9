"""Keys, books and routers for the tests of access."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from serve_app.access.keys.key import Key
from serve_app.access.keys.secret import hashed, new_key_id, new_secret, whole_key
from serve_app.access.limits.books import Books
from serve_app.access.limits.limiter import Limiter
from serve_app.access.limits.messages import Lease, Report


def a_key(secret: str | None = None, **changes: Any) -> tuple[Key, str]:
    """A key and what its owner sends."""
    secret = secret or new_secret()
    key = Key.model_validate({"id": new_key_id(), "hash": hashed(secret)} | changes)
    return key, whole_key(key.id, secret)


class SharedCounters:
    """The books that several routers share, on a clock that a test moves.

    is_mute: they take what they are told, and nobody hears their answer.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.today = date(2026, 11, 21)
        self.books = Books(lambda: self.today)
        self.num_calls = 0
        self.is_down = False
        self.is_mute = False

    async def renew(self, router: str, reports: Mapping[str, Report]) -> Mapping[str, Lease]:
        self.num_calls += 1
        if self.is_down:
            raise ConnectionError("gone")
        leases = self.books.renew(router, reports, now=self.now)
        if self.is_mute:
            raise TimeoutError
        return leases

    def router(self, name: str) -> Limiter:
        return Limiter(self, name, lambda: self.now)
