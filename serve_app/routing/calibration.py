"""From a predicted time to a probability. Learns log(actual / predicted); knows no clock.

The error of a latency prediction is multiplicative, so its logarithm is averaged: the mean
corrects the prediction, the spread says how far to trust it.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()
_FORGETTING = 0.97
_PRIOR_WEIGHT = 6.0
SPREAD_OF_TABLE = 0.35
SPREAD_OF_MEASUREMENT = 0.12
_SMALLEST_SPREAD = 0.04
# Hops and parsing cost milliseconds whatever the length; on a reply of two tokens they would look
# like an engine twice as slow. Added to both times, they hardly count.
_NOT_SPEED_S = 0.1


@dataclass(frozen=True, slots=True)
class Correction:
    """What was learned of one tier's prediction error: log-mean, log-spread, how many seen."""

    log_bias: float
    log_spread: float
    observations: int

    @property
    def factor(self) -> float:
        """Multiplies a raw prediction to make its median right."""
        return math.exp(self.log_bias)

    def probability(self, predicted_s: float, limit_s: float) -> float:
        """Probability that a reply with corrected prediction `predicted_s` meets the limit."""
        if predicted_s <= 0:
            return 1.0
        if limit_s <= 0:
            return 0.0
        return _NORMAL.cdf(math.log(limit_s / predicted_s) / self.log_spread)

    def bound_s(self, predicted_s: float, probability: float) -> float:
        """The limit that a reply predicted at `predicted_s` meets with `probability`."""
        return predicted_s * math.exp(_NORMAL.inv_cdf(probability) * self.log_spread)


class Calibrator:
    """Learns one tier's `Correction` from finished replies.

    Forgets exponentially, so that a machine that slows down is believed within some 30 replies.
    Starts from a prior that counts as much as six of them.
    """

    def __init__(self, *, is_measured: bool) -> None:
        spread = SPREAD_OF_MEASUREMENT if is_measured else SPREAD_OF_TABLE
        self._weight = _PRIOR_WEIGHT
        self._mean = 0.0
        self._variance = spread**2
        self._observations = 0

    def observe(self, *, predicted_s: float, actual_s: float) -> None:
        """Takes one finished reply; both times for the same number of output tokens."""
        if predicted_s <= 0 or actual_s <= 0:
            return
        ratio = (actual_s + _NOT_SPEED_S) / (predicted_s + _NOT_SPEED_S)
        error = max(-2.0, min(2.0, math.log(ratio)))
        self._weight = self._weight * _FORGETTING + 1.0
        gain = 1.0 / self._weight
        delta = error - self._mean
        self._mean += gain * delta
        self._variance = (1.0 - gain) * (self._variance + gain * delta * delta)
        self._observations += 1

    def correction(self) -> Correction:
        spread = max(_SMALLEST_SPREAD, math.sqrt(self._variance))
        return Correction(self._mean, spread, self._observations)
