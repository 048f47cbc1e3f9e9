"""The relative error of a prediction: its present level, its spread, whether it is drifting."""

import math
from collections.abc import Mapping
from typing import Any, Final

from serve_app.routing.record import record

SPREAD_OF_TABLE: Final = 0.35
SPREAD_OF_MEASUREMENT: Final = 0.12
_SMALLEST_SPREAD: Final = 0.03
_PRIOR_COUNT: Final = 6.0
# Of the level and of the variance.
_GAINS: Final = (0.03, 0.01)
_DRIFT_GAINS: Final = (0.25, 0.1)
_TREND_GAIN: Final = 0.1
_DRIFTS_AT: Final = 1.0
_FARTHEST: Final = 2.0
_WILD: Final = 3.0
_SHRINKAGE: Final = 10.0


@record
class Error:
    """log(actual / predicted): what it is now in the mean, and its standard deviation."""

    level: float
    spread: float
    observations: int = 0
    is_drifting: bool = False


class ErrorTracker:
    """Follows one quantity's log error.

    The level is a running mean that hurries when the last dozen errors all lie on one side, as
    they do after a machine has slowed down. Until then the spread grows, so that a bound made
    meanwhile is wide: a drift is admitted before it is understood.
    """

    __slots__ = ("_level", "_present", "_prior", "_trend", "_variance", "observations")

    def __init__(self, spread: float) -> None:
        self._prior = spread
        self._level = 0.0
        self._variance = spread**2
        self._trend = 0.0
        # Asked for more often than something is observed; None once something was.
        self._present: Error | None = None
        self.observations = 0

    @property
    def is_drifting(self) -> bool:
        return abs(self._trend) > _DRIFTS_AT

    def observe(self, error: float) -> None:
        """Takes one log(actual / predicted), the prediction without this level."""
        surprise = within(_FARTHEST, error) - self._level
        spread = _spread(self._variance)
        self._trend += _TREND_GAIN * (within(_WILD, surprise / spread) - self._trend)
        # One wild reply must not blind the tier, it counts as a few spreads; a dozen are a drift.
        seen, (level_gain, spread_gain) = within(_WILD * spread, surprise), _GAINS
        if self.is_drifting:
            seen, (level_gain, spread_gain) = surprise, _DRIFT_GAINS
        young = 1.0 / (_PRIOR_COUNT + self.observations)
        self._level += max(level_gain, young) * surprise
        self._variance += max(spread_gain, young) * (seen**2 - self._variance)
        self._present = None
        self.observations += 1

    def copy(self) -> "ErrorTracker":
        """One that can be taught without this one."""
        twin = ErrorTracker(self._prior)
        twin._level, twin._variance, twin._trend = self._level, self._variance, self._trend
        twin.observations = self.observations
        return twin

    def shrunk(self, parent: Error, *, trust: float = 1.0) -> Error:
        """The present error, as if `_SHRINKAGE` observations had said what the parent says."""
        own = trust * self.observations / (self.observations + _SHRINKAGE)
        variance = own * self._variance + (1.0 - own) * parent.spread**2
        return self._shrunk(variance, own)

    def error(self, *, trust: float = 1.0) -> Error:
        """The present error; `trust` below 1 goes back towards the prior, for old knowledge."""
        if trust == 1.0:
            if self._present is None:
                self._present = self._shrunk(self._variance, 1.0)
            return self._present
        return self._shrunk(trust * self._variance + (1.0 - trust) * self._prior**2, trust)

    def snapshot(self) -> dict[str, float]:
        """The state, as plain values."""
        return {
            "level": self._level, "variance": self._variance, "observations": self.observations,
        }  # fmt: skip

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, KeyError, TypeError: it is not such a snapshot.
        """
        level, variance = float(snapshot["level"]), float(snapshot["variance"])
        if not (math.isfinite(level) and 0 < variance < math.inf):
            raise ValueError("an error needs a finite level and a positive variance")
        self._level, self._variance, self._present = level, variance, None
        self.observations = int(snapshot["observations"])

    def _shrunk(self, variance: float, own: float) -> Error:
        return Error(self._level * own, _spread(variance), self.observations, self.is_drifting)


def within(most: float, value: float) -> float:
    """The value, or the nearer end of [-most, most]; `min` and `max` take four times as long."""
    if value > most:
        return most
    return value if value >= -most else -most


def all_within(most: float, values: list[float]) -> list[float]:
    """Each of them within [-most, most], which they mostly are."""
    for value in values:
        if not -most <= value <= most:
            return [within(most, value) for value in values]
    return values


def _spread(variance: float) -> float:
    spread = math.sqrt(variance)
    return spread if spread > _SMALLEST_SPREAD else _SMALLEST_SPREAD
