"""Where keys come from, and how a change of them is noticed. A place in, a KeyRing out."""

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Protocol

from serve_app.access.keys.key import KeysInvalid, read_keys
from serve_app.access.keys.ring import KeyRing
from serve_app.storage.locations import open_storage
from serve_app.storage.types import StorageFailed

log = logging.getLogger("ray.serve.tandem")

_VARIABLE = "env:"


class Source(Protocol):
    """A place that holds a keys file's content; `load` blocks."""

    def load(self) -> bytes | None: ...


class VariableSource:
    """An environment variable; it cannot change while the process runs."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._name = name
        self._environment = environment

    def load(self) -> bytes | None:
        content = self._environment.get(self._name)
        return None if content is None else content.encode()


def open_source(place: str, environment: Mapping[str, str] = os.environ) -> Source:
    """The source that `auth.keys` names; nothing is read yet.

    Raises:
        ValueError: when it has none of the valid forms.
    """
    if not place.startswith(_VARIABLE):
        return open_storage(os.path.expandvars(place))
    name = place.removeprefix(_VARIABLE)
    if not name.isidentifier():
        raise ValueError(f"{place!r}: `env:` must be followed by the name of a variable")
    return VariableSource(name, environment)


class Keys:
    """The keys in force, read again every few seconds.

    Args:
        place: named in messages. every_s: seconds between two looks.
    """

    def __init__(self, source: Source, place: str, every_s: float) -> None:
        self._source = source
        self._place = place
        self._every_s = every_s
        self._seen: bytes | None = None
        self._is_failing = False
        self.ring = KeyRing(())

    def load(self) -> None:
        """Reads them for the first time; blocks.

        Raises:
            KeysInvalid: there are none, or they cannot be used.
        """
        try:
            data = self._source.load()
        except StorageFailed as err:
            raise KeysInvalid(f"auth.keys: {err}") from err
        if data is None:
            raise KeysInvalid(
                f"auth.keys: nothing is at {self._place!r}. Make a first key with `tandem keys "
                f"create --file {self._place}`, on every machine where a router runs."
            )
        self.ring, self._seen = KeyRing(read_keys(data)), data

    async def watch(self) -> None:
        """Looks for changes until cancelled. What cannot be read leaves the last keys in force."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.refresh()
            except Exception:
                # A defect must not end this loop: keys that were revoked would be good for ever.
                log.exception("The API keys could not be read again; trying again.")

    async def refresh(self) -> None:
        try:
            data = await asyncio.to_thread(self._source.load)
            if data is None:
                raise KeysInvalid(f"nothing is at {self._place!r} any more")
            if data == self._seen:
                self._is_failing = False
                return
            self.ring, self._seen = KeyRing(read_keys(data)), data
        except (KeysInvalid, StorageFailed) as err:
            if not self._is_failing:
                log.error("The API keys could not be read again, the last ones stay: %s", err)
            self._is_failing = True
            return
        self._is_failing = False
        log.info("API keys were read again: %d are valid.", len(self.ring))
