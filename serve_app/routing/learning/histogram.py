"""Rolling histograms of token counts on a logarithmic grid. Counts in, shares out."""

import math
from functools import lru_cache
from operator import add

BINS_PER_DOUBLING = 8
NUM_BINS = 17 * BINS_PER_DOUBLING + 1
"""Up to 131,072 tokens; longer ones count as that."""
TOKENS = tuple(2 ** (index / BINS_PER_DOUBLING) for index in range(NUM_BINS))
_FORGETTING = 0.998
_LARGEST_UNIT = 1e100


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

    def __init__(self, weights: list[float] | None = None) -> None:
        self.weights = weights or [0.0] * NUM_BINS
        self._total = sum(self.weights)
        self._unit = 1.0

    @property
    def count(self) -> float:
        """How many recent observations it stands for, at most 500."""
        return self._total / self._unit

    def add(self, tokens: float) -> None:
        """Counts one length."""
        self.weights[bin_of(tokens)] += self._unit
        self._grow()

    def add_beyond(self, tokens: float, shares: tuple[float, ...]) -> None:
        """Counts a length only known to be `tokens` or more.

        It is spread over the longer bins as `shares` says they occur (redistribution to the
        right, Efron 1967), so that replies cut short do not make lengths look short.
        """
        first = bin_of(tokens)
        beyond = sum(shares[first:])
        if beyond <= 0:
            self.add(tokens)
            return
        scale = self._unit / beyond
        for index in range(first, NUM_BINS):
            self.weights[index] += shares[index] * scale
        self._grow()

    def shares_above(self, parent: tuple[float, ...], parent_count: float) -> tuple[float, ...]:
        """Shares of each bin, shrunk to the parent's as if it had `parent_count` observations."""
        own = 1.0 / (self._total + parent_count * self._unit)
        inherited = parent_count * self._unit * own
        # Mapped, not looped: half of what making a distribution costs.
        return tuple(map(add, map(own.__mul__, self.weights), map(inherited.__mul__, parent)))

    def snapshot(self) -> list[float]:
        """Weights in units of one observation, as the constructor takes them."""
        return [round(weight / self._unit, 6) for weight in self.weights]

    def _grow(self) -> None:
        self._total += self._unit
        self._unit /= _FORGETTING
        if self._unit > _LARGEST_UNIT:
            self.weights = [weight / self._unit for weight in self.weights]
            self._total /= self._unit
            self._unit = 1.0


def log_normal_shares(median_tokens: float, log_spread: float) -> tuple[float, ...]:
    """Shares of a log-normal around a guess; what is believed before anything was seen."""
    width = math.log(2) / BINS_PER_DOUBLING / log_spread
    middle = math.log(max(1.0, median_tokens)) / log_spread
    raw = [math.exp(-0.5 * (index * width - middle) ** 2) for index in range(NUM_BINS)]
    total = sum(raw)
    return tuple(weight / total for weight in raw)
