"""Recursive least squares with forgetting: one observation in, better parameters out."""

from collections.abc import Mapping, Sequence
from operator import mul
from typing import Any

from serve_app.routing.learning.errors import all_within

_FORGETTING = 0.999


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

    def observe(self, features: Sequence[float], error: float, *, noise: float) -> None:
        """Takes one error that the present parameters left; `noise` is its variance."""
        reach = [sum(map(mul, row, features)) for row in self._covariance]
        scale = 1.0 / (noise + sum(map(mul, features, reach)))
        gain = scale * error
        parameters = [
            parameter + reached * gain
            for parameter, reached in zip(self.parameters, reach, strict=True)
        ]
        self.parameters = all_within(self._bound, parameters)
        shares = [reached * scale for reached in reach]
        self._covariance = [
            [(entry - share * other) / _FORGETTING for entry, other in zip(row, reach, strict=True)]
            for row, share in zip(self._covariance, shares, strict=True)
        ]
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
        for i, (row, largest) in enumerate(zip(self._covariance, self._largest, strict=True)):
            variance = row[i]
            if variance <= largest:
                continue
            scale = (largest / variance) ** 0.5
            row[:] = [entry * scale for entry in row]
            for other in self._covariance:
                other[i] *= scale


def _diagonal(variances: Sequence[float]) -> list[list[float]]:
    size = range(len(variances))
    return [[variances[i] if i == j else 0.0 for j in size] for i in size]
