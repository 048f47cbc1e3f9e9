"""Keeps a request that kills engines from walking through the fleet. Knows no clock, no asyncio.

`now` is monotonic seconds everywhere.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from deployments.messages import Endpoint

_KILLS_ALLOWED = 1
_MOST_KEPT = 4096
# They say who asks and how the reply travels, not what the engine computes.
_WITHOUT_CONTENT = frozenset({"stream", "stream_options", "user", "metadata", "model"})


def content_hash(endpoint: Endpoint, body: Mapping[str, Any]) -> str:
    """The same for requests that an engine cannot tell apart."""
    content = {name: value for name, value in body.items() if name not in _WITHOUT_CONTENT}
    data = orjson.dumps([endpoint, content], option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@dataclass(slots=True)
class _Suspect:
    replicas: set[str] = field(default_factory=set)
    until_s: float = 0.0


class Quarantine:
    """Remembers under which requests replicas died.

    One death proves nothing: all calls in flight were there. A second replica that dies under the
    same content puts it in quarantine; a reply in between clears it. Who was in flight beside the
    culprit both times is suspected with it.

    Args:
        kept_s: how long a death is held against a content, and a quarantine lasts.
    """

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._suspects: OrderedDict[str, _Suspect] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        return not self._suspects

    def died(self, content: str, replica: str, *, now: float) -> None:
        """Notes that this replica died while it had a request of this content."""
        suspect = self._suspects.pop(content, None)
        if suspect is None or suspect.until_s <= now:
            suspect = _Suspect()
        suspect.replicas.add(replica)
        suspect.until_s = now + self._kept_s
        self._suspects[content] = suspect
        while len(self._suspects) > _MOST_KEPT:
            self._suspects.popitem(last=False)

    def answered(self, content: str) -> None:
        """Clears a content that an engine survived."""
        self._suspects.pop(content, None)

    def deaths(self, content: str) -> frozenset[str]:
        """Replicas that died under it, as far as that is remembered."""
        suspect = self._suspects.get(content)
        return frozenset(suspect.replicas if suspect else ())

    def holds(self, content: str, *, now: float) -> bool:
        """True when requests of this content are not to be sent to any engine."""
        suspect = self._suspects.get(content)
        if suspect is None:
            return False
        if suspect.until_s <= now:
            del self._suspects[content]
            return False
        return len(suspect.replicas) > _KILLS_ALLOWED
