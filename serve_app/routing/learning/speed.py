"""How fast prefill and decode really are. Replies under the load they met in, factors out.

Least squares correct the speeds of prefill and decode and how decode slows with the batch; a
running level follows the machine when it changes.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Final

from serve_app.routing.latency import ReplyTime
from serve_app.routing.learning.errors import Error, ErrorTracker
from serve_app.routing.learning.least_squares import LeastSquares
from serve_app.routing.record import record

_MOST_LOG_FACTOR: Final = 2.5
_FIXED_UNIT_S: Final = 0.1
# A decode step's factor is learned at these batch sizes and interpolated in between, so that what
# a full engine taught is not extrapolated to an idle one.
_BATCHES: Final[tuple[float, ...]] = (1.0, 4.0, 16.0, 64.0)
_LOG_APART: Final = math.log(4.0)


@record
class Speeds:
    """What is done to every raw prediction of one load: factors, and seconds.

    prefill: on prefill, and on the wait for those ahead. slot_wait: on the wait for a decode slot,
    which is made of earlier predictions, in which the speeds are corrected. everything: on decode
    and fixed_s. log_steps: as in `Correction`.
    """

    prefill: float
    slot_wait: float
    everything: float
    log_steps: tuple[float, ...]
    fixed_s: float

    def applied(self, raw: ReplyTime) -> ReplyTime:
        """The raw prediction with what was learned of the speeds."""
        slot_wait_s = raw.slot_wait_s * self.slot_wait
        return ReplyTime(
            slot_wait_s + (raw.wait_s - raw.slot_wait_s) * self.prefill,
            raw.prefill_s * self.prefill,
            raw.step_s * self.step(raw.batch),
            raw.batch,
            (raw.fixed_s + self.fixed_s) * self.everything,
            slot_wait_s,
        )

    def step(self, batch: float) -> float:
        """The factor on a decode step with this batch."""
        return math.exp(_between(self.log_steps, batch)) * self.everything


@record
class Correction:
    """What was learned of the speeds, in logarithms of factors, and seconds.

    log_prefill: of prefill and wait. log_steps: of a decode step at each of `_BATCHES`. fixed_s:
    what every reply costs beside engine work.
    """

    log_prefill: float
    log_steps: tuple[float, ...]
    fixed_s: float

    def log_step(self, batch: float) -> float:
        """Of a decode step with this batch."""
        return _between(self.log_steps, batch)

    def speeds(self, speed: float = 0.0, level: float = 0.0) -> Speeds:
        """Ready to be applied.

        Args:
            speed: logarithm of a factor on all engine work. level: of one on everything.
        """
        everything = math.exp(speed + level)
        prefill = math.exp(self.log_prefill) * everything
        return Speeds(prefill, math.exp(level), everything, self.log_steps, self.fixed_s)


class SpeedTracker:
    """Follows one tier's speeds.

    correction: what was learned of the speeds themselves. present: what the engine's speed is off
    now, after correction. speeds: both.

    Args:
        spread: how far the raw speeds may be off, as a standard deviation of their logarithm.
    """

    def __init__(self, spread: float) -> None:
        variances = (spread**2, *[spread**2] * len(_BATCHES), 0.25)
        self._squares = LeastSquares(variances, bound=_MOST_LOG_FACTOR)
        self._error = ErrorTracker(spread)
        self._sum_up()

    @property
    def observations(self) -> int:
        """Replies that it was told of."""
        return self._error.observations

    def error(self, *, trust: float) -> Error:
        """`present`, as far as it is to be trusted."""
        return self.present if trust == 1.0 else self._error.error(trust=trust)

    def observe(
        self, met: ReplyTime, *, output_tokens: float, e2e_s: float, shift_s: float
    ) -> None:
        """One step of Gauss-Newton: each parameter by its share of the predicted time.

        Args:
            met: the raw prediction under the load that the reply really met.
        """
        time = self.correction.speeds().applied(met)
        whole_s = time.e2e_s(output_tokens) + shift_s
        error = math.log((e2e_s + shift_s) / whole_s)
        decode = max(0.0, output_tokens - 1.0) * time.step_s / whole_s
        features = [
            (time.wait_s - time.slot_wait_s + time.prefill_s) / whole_s,
            *[decode * weight for weight in _weights(met.batch)],
            _FIXED_UNIT_S / whole_s,
        ]
        present = self.present
        if present.is_drifting:
            self._squares.forget()
        self._squares.observe(features, error - present.level, noise=present.spread**2)
        self._error.observe(error)
        self._sum_up()

    def snapshot(self) -> dict[str, Any]:
        """All that was learned, as plain values."""
        return {"squares": self._squares.snapshot(), "speed": self._error.snapshot()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, KeyError, TypeError: it is not such a snapshot.
        """
        self._squares.restore(snapshot["squares"])
        self._error.restore(snapshot["speed"])
        self._sum_up()

    def _sum_up(self) -> None:
        prefill, *steps, fixed = self._squares.parameters
        self.correction = Correction(prefill, tuple(steps), max(0.0, fixed) * _FIXED_UNIT_S)
        self.present = self._error.error()
        self.speeds = self.correction.speeds(self.present.level)


def _place(batch: float) -> tuple[int, float]:
    """Which of `_BATCHES` a batch follows, and how far on the way to the next, by logarithms."""
    if batch <= _BATCHES[0]:
        return 0, 0.0
    if batch >= _BATCHES[-1]:
        return len(_BATCHES) - 1, 0.0
    left = bisect_right(_BATCHES, batch) - 1
    return left, math.log(batch / _BATCHES[left]) / _LOG_APART


def _between(log_steps: tuple[float, ...], batch: float) -> float:
    """The value at a batch of what was learned at each of `_BATCHES`."""
    left, share = _place(batch)
    if share == 0.0:
        return log_steps[left]
    return (1.0 - share) * log_steps[left] + share * log_steps[left + 1]


def _weights(batch: float) -> list[float]:
    """How much each of `_BATCHES` says of this one."""
    left, share = _place(batch)
    weights = [0.0] * len(_BATCHES)
    weights[left] = 1.0 - share
    if share > 0.0:
        weights[left + 1] = share
    return weights
