"""How often replies of each length were seen, per key, each count shrunk to its parent's."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from serve_app.routing.learning.histogram import (
    TOKENS,
    RollingHistogram,
    log_normal_shares,
)
from serve_app.routing.lengths.kinds import ALL, hinted, parent_of, shrinkage_of
from serve_app.routing.lengths.reply import LengthDistribution

_PRIOR_COUNT: Final = 5.0
_SPREAD_OF_DEFAULT: Final = 1.0
_BETWEEN_TIERS: Final = 50.0
_MOST_KEYS: Final = 512
_STALE_AFTER: Final = 16
_STALE_AFTER_ABOVE: Final = 64


class Counts:
    """Counts of reply lengths by key.

    Args:
        default_tokens: believed before anything was seen.
        shared: what was seen on all tiers together; a tier's own counts are shrunk to it.
    """

    def __init__(self, default_tokens: int, shared: "Counts | None") -> None:
        self._shared = shared
        self._prior = LengthDistribution(log_normal_shares(default_tokens, _SPREAD_OF_DEFAULT))
        self._by_key: OrderedDict[str, _Count] = OrderedDict()

    def num_recent(self, key: str) -> float:
        """Replies lately counted under a key, at most 500."""
        count = self._by_key.get(key)
        return count.histogram.count if count is not None else 0.0

    def add(self, key: str, tokens: float, *, is_cut: bool) -> None:
        """Counts a reply; of one that was cut, only that it would have been longer."""
        beyond = self.distribution(key).shares if is_cut else None
        count = self._by_key.get(key)
        if count is None:
            count = self._by_key[key] = _Count(RollingHistogram())
            while len(self._by_key) > _MOST_KEYS:
                # Callers choose route keys; the least recently used count makes room.
                self._by_key.popitem(last=False)
        else:
            self._by_key.move_to_end(key)
        count.histogram.add(tokens, beyond)
        count.num_seen += 1

    def distribution(self, key: str) -> LengthDistribution:
        """Of a key's counts, made again when they have changed by enough; else its parent's."""
        count = self._by_key.get(key)
        if count is None:
            return self._parent(key)[0]
        num_above = self._num_above(key)
        if count.made is not None and not count.is_stale(num_above):
            return count.made
        parent, weight = self._parent(key)
        return count.make(parent, weight, num_above)

    def snapshot(self) -> dict[str, list[float]]:
        """All that was counted, as plain values."""
        return {key: count.histogram.snapshot() for key, count in self._by_key.items()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, TypeError: it is not such a snapshot.
        """
        by_key = {str(key): _Count(_checked(weights)) for key, weights in snapshot.items()}
        self._by_key = OrderedDict(by_key)

    def _parent(self, key: str) -> tuple[LengthDistribution, float]:
        """What a key's counts are shrunk to, and as how many observations it counts."""
        if self._shared is not None:
            return self._shared.distribution(key), _BETWEEN_TIERS
        if key == ALL:
            return self._prior, _PRIOR_COUNT
        parent = parent_of(key)
        above = hinted(key) if parent is None else self.distribution(parent)
        return above, shrinkage_of(key)

    def _num_above(self, key: str) -> int:
        """How many observations the parent's distribution rests on."""
        if self._shared is not None:
            count = self._shared._by_key.get(key)
        else:
            parent = parent_of(key)
            count = self._by_key.get(parent) if parent is not None else None
        return count.num_seen if count is not None else 0


class _Count:
    """One key's counts, and the distribution last made of them.

    num_seen: lengths counted. It is made again when that or the parent's has grown by a quarter, or
    by `_STALE_AFTER` or `_STALE_AFTER_ABOVE`: what comes elsewhere makes nothing stale.
    """

    __slots__ = ("_stale_above_at", "_stale_at", "histogram", "made", "num_seen")

    def __init__(self, histogram: RollingHistogram) -> None:
        self.histogram = histogram
        self.num_seen = round(histogram.count)
        self.made: LengthDistribution | None = None
        self._stale_at = self._stale_above_at = 0

    def is_stale(self, num_above: int) -> bool:
        return self.num_seen >= self._stale_at or num_above >= self._stale_above_at

    def make(self, parent: LengthDistribution, weight: float, num_above: int) -> LengthDistribution:
        """Makes the distribution afresh."""
        self.made = LengthDistribution(self.histogram.shares_above(parent.shares, weight))
        seen = self.num_seen
        self._stale_at = seen + min(_STALE_AFTER, 1 + seen // 4)
        self._stale_above_at = num_above + min(_STALE_AFTER_ABOVE, 1 + num_above // 4)
        return self.made


def _checked(weights: Any) -> RollingHistogram:
    values = [float(weight) for weight in weights]
    if len(values) != len(TOKENS) or not all(0 <= w < math.inf for w in values):
        raise ValueError(f"a histogram needs {len(TOKENS)} weights of 0 or more")
    return RollingHistogram(values)
