"""How sure a mean over seeds is. One value per seed in, an interval out."""

import random
from collections.abc import Sequence

_RESAMPLES = 2000
_LEVEL = 0.95


def interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the mean by the percentile bootstrap (Efron 1979); the same every time."""
    randomness = random.Random(0)
    count = len(values)
    means = sorted(sum(randomness.choices(values, k=count)) / count for _ in range(_RESAMPLES))
    tail = (1 - _LEVEL) / 2
    return means[int(tail * _RESAMPLES)], means[int((1 - tail) * _RESAMPLES) - 1]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Of the means of two policies that met the same requests, seed by seed."""
    return interval([a - b for a, b in zip(ours, theirs, strict=True)])
