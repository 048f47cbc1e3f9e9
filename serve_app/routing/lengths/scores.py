"""Which way to foresee reply lengths was best lately, per route, by pinball loss."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from serve_app.routing.lengths.reply import LengthQuery

_GAIN: Final = 0.02
_BEFORE_CHOICE: Final = 30
_MOST_KEPT: Final = 512


class Scores:
    """Losses of each kind on each route, apart for requests whose caller named a length.

    One for all tiers: a tier that is seldom used could not find out by itself that it believes
    in the wrong kind, and would stay seldom used.
    """

    def __init__(self) -> None:
        # Of each kind, by what was asked.
        self._losses: dict[str, dict[str, tuple[float, int]]] = {}
        self._best: dict[str, str] = {}

    def best(self, query: LengthQuery, kinds: Collection[str]) -> str:
        """The kind with the smallest loss; the first until all were tried on some replies."""
        asked = _asked(query)
        best = self._best.get(asked)
        if best is None:
            known = self._losses.get(asked, {})
            losses = {kind: known.get(kind, (0.0, 0)) for kind in kinds}
            is_known = min(seen for _, seen in losses.values()) >= _BEFORE_CHOICE
            best = min(kinds, key=lambda kind: losses[kind][0]) if is_known else next(iter(kinds))
            self._best[asked] = best
        return best

    def add(self, query: LengthQuery, losses: Mapping[str, float]) -> None:
        """Takes what each kind lost on one reply."""
        asked = _asked(query)
        if len(self._losses) > _MOST_KEPT:
            # Callers choose route keys; what they have filled is learned again.
            self._losses.clear()
            self._best.clear()
        known = self._losses.setdefault(asked, {})
        for kind, loss in losses.items():
            mean, seen = known.get(kind, (loss, 0))
            gain = max(_GAIN, 1.0 / (seen + 1))
            known[kind] = (mean + gain * (loss - mean), seen + 1)
        self._best.pop(asked, None)

    def snapshot(self) -> dict[str, list[float]]:
        """Mean loss and number of replies by route and kind, as plain values."""
        return {
            f"{asked}|{kind}": list(loss)
            for asked, losses in self._losses.items()
            for kind, loss in losses.items()
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, TypeError: it is not such a snapshot.
        """
        losses: dict[str, dict[str, tuple[float, int]]] = {}
        for key, (mean, seen) in snapshot.items():
            asked, _, kind = str(key).rpartition("|")
            losses.setdefault(asked, {})[kind] = (float(mean), int(seen))
        self._losses = losses
        self._best.clear()


def _asked(query: LengthQuery) -> str:
    return f"{query.route}|{'hinted' if query.expected else 'plain'}"


def loss(actual: float, quantiles: Sequence[tuple[float, float]], most: float) -> float:
    """The pinball losses of a few quantiles, each given with its level and cut at `most`."""
    total = 0.0
    for level, predicted in quantiles:
        excess = actual - (predicted if predicted < most else most)
        total += level * excess if excess > 0.0 else (level - 1.0) * excess
    return total


def pinball(actual: float, predicted: float, probability: float) -> float:
    """Loss of a predicted quantile (Koenker and Bassett 1978); the true quantile minimizes it."""
    excess = actual - predicted
    return probability * excess if excess > 0.0 else (probability - 1.0) * excess
