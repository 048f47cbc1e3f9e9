"""Recursive least squares with forgetting: one observation in, better parameters out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from serve_app.routing.learning.errors import all_within

_FORGETTING: Final = 0.999


class LeastSquares:
    """Fits `error = features . parameters`, newest observations first (Ljung 1999, 11.2).

    Parameters start at 0 with the given variances, which is how far the prior may be wrong; no
    variance grows beyond that again, so a feature that never varies stays where it was.

    Args:
        variances: of each parameter before anything was seen.
        bound: no parameter leaves [-bound, bound].
    """

    def __init__(self, variances: Sequence[float], *, bound: float) -> None:
        self._largest = tuple(variances)
        self._bound = bound
        self.parameters = [0.0] * len(variances)
        self._covariance = _diagonal(variances)

    def observe(self, features: list[float], error: float, *, noise: float) -> None:
        """Takes one error that the present parameters left; `noise` is its variance."""
        # By index: compiled, that takes a seventh of what `zip` and `map` do.
        covariance, size = self._covariance, len(features)
        reach = [_product(row, features) for row in covariance]
        scale = 1.0 / (noise + _product(features, reach))
        gain = scale * error
        parameters = [self.parameters[i] + reach[i] * gain for i in range(size)]
        self.parameters = all_within(self._bound, parameters)
        for i in range(size):
            row, share = covariance[i], reach[i] * scale
            for j in range(i + 1):
                entry = (row[j] - share * reach[j]) / _FORGETTING
                row[j] = covariance[j][i] = entry
        self._limit()

    def forget(self) -> None:
        """Makes the parameters as uncertain as at first, where they are; for after a change."""
        self._covariance = _diagonal(self._largest)

    def snapshot(self) -> dict[str, Any]:
        """Parameters and covariance, as plain values."""
        return {"parameters": list(self.parameters), "covariance": [*map(list, self._covariance)]}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, KeyError, TypeError: it is not such a snapshot, or of another size.
        """
        size = len(self._largest)
        parameters = [float(value) for value in snapshot["parameters"]]
        covariance = [[float(value) for value in row] for row in snapshot["covariance"]]
        if len(parameters) != size or [len(row) for row in covariance] != [size] * size:
            raise ValueError(f"{size} parameters are needed")
        self.parameters, self._covariance = parameters, covariance

    def _limit(self) -> None:
        """Scales rows and columns down where forgetting let a variance grow too far."""
        covariance = self._covariance
        for i in range(len(covariance)):
            row, largest = covariance[i], self._largest[i]
            variance = row[i]
            if variance <= largest:
                continue
            scale = math.sqrt(largest / variance)
            row[:] = [entry * scale for entry in row]
            for other in covariance:
                other[i] *= scale


def _product(left: list[float], right: list[float]) -> float:
    total = 0.0
    for i in range(len(left)):
        total += left[i] * right[i]
    return total


def _diagonal(variances: Sequence[float]) -> list[list[float]]:
    size = range(len(variances))
    return [[variances[i] if i == j else 0.0 for j in size] for i in size]
