"""Rolling histograms of token counts on a logarithmic grid. Counts in, shares out."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]
"""One share for each bin."""

BINS_PER_DOUBLING: Final = 8
NUM_BINS: Final = 17 * BINS_PER_DOUBLING + 1
"""Up to 131,072 tokens; longer ones count as that."""
TOKENS: Final = tuple(math.exp2(index / BINS_PER_DOUBLING) for index in range(NUM_BINS))
_FORGETTING: Final = 0.998
_LARGEST_UNIT: Final = 1e100


# A reply is counted under eight keys.
@lru_cache(maxsize=1024)
def bin_of(tokens: float) -> int:
    """The bin of a length, by its logarithm; neighbours are 9 % apart."""
    return min(NUM_BINS - 1, round(BINS_PER_DOUBLING * math.log2(max(1.0, tokens))))


class RollingHistogram:
    """Counts that fade: the latest 500 weigh as much as all before them.

    Instead of fading every bin at each count, the weight of a new count grows; only ratios matter.
    """

    __slots__ = ("_total", "_unit", "weights")

    def __init__(self, weights: Sequence[float] = (0.0,) * NUM_BINS) -> None:
        self.weights: Shares = np.array(weights, dtype=float)
        self._total = float(self.weights.sum())
        self._unit = 1.0

    @property
    def count(self) -> float:
        """How many recent observations it stands for, at most 500."""
        return self._total / self._unit

    def add(self, tokens: float, shares: Shares | None = None) -> None:
        """Counts one length, or, with `shares`, one that is only known to be `tokens` or more.

        That is spread over the longer bins as `shares` says they occur (redistribution to the
        right, Efron 1967), so that replies cut short do not make lengths look short.
        """
        first, unit = bin_of(tokens), self._unit
        beyond = 0.0 if shares is None else float(shares[first:].sum())
        if shares is None or beyond <= 0.0:
            self.weights[first] += unit
        else:
            self.weights[first:] += shares[first:] * (unit / beyond)
        self._total += unit
        self._unit = unit / _FORGETTING
        if self._unit > _LARGEST_UNIT:
            self._rescale()

    def shares_above(self, parent: Shares, parent_count: float) -> Shares:
        """Shares of each bin, shrunk to the parent's as if it had `parent_count` observations."""
        own = 1.0 / (self._total + parent_count * self._unit)
        return self.weights * own + parent * (parent_count * self._unit * own)

    def snapshot(self) -> list[float]:
        """Weights in units of one observation, as the constructor takes them."""
        return [round(weight / self._unit, 6) for weight in self.weights.tolist()]

    def _rescale(self) -> None:
        self.weights /= self._unit
        self._total /= self._unit
        self._unit = 1.0


def log_normal_shares(median_tokens: float, log_spread: float) -> Shares:
    """Shares of a log-normal around a guess; what is believed before anything was seen."""
    width = math.log(2) / BINS_PER_DOUBLING / log_spread
    middle = math.log(max(1.0, median_tokens)) / log_spread
    shares: Shares = np.exp(-0.5 * (np.arange(NUM_BINS) * width - middle) ** 2)
    shares /= shares.sum()
    return shares
