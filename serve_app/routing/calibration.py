"""Learns from each outcome what a tier's predictions are worth. Outcomes in, forecasts out.

Three layers, each for what the one below cannot know. Least squares correct the speeds of prefill
and decode and how decode slows with the batch; a running level and spread follow what is left,
quickly when the machine changes; group-wise conformal scores make the stated probabilities true.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from serve_app.routing.forecast import Forecast
from serve_app.routing.latency import ReplyTime
from serve_app.routing.learning.conformal import GroupCalibration, score_of
from serve_app.routing.learning.errors import (
    SPREAD_OF_MEASUREMENT,
    SPREAD_OF_TABLE,
    Error,
    ErrorTracker,
)
from serve_app.routing.learning.least_squares import LeastSquares
from serve_app.routing.lengths import ReplyLength

_MOST_LOG_FACTOR = 2.5
_FIXED_UNIT_S = 0.1
# Batch sizes are counted from here, so that their slope and the speed itself do not fight.
_USUAL_BATCH = 4.0
# Of the usual reply time: found on half of a trace, where it made errors of short and long replies
# alike; between 0.1 and 0.4 it hardly matters.
_SHIFT_SHARE = 0.25
_SMALLEST_SHIFT_S = 0.05
_USUAL_GAIN = 0.01


@dataclass(frozen=True, slots=True)
class Correction:
    """Factors on the raw prediction: of prefill and wait, of a decode step by batch; seconds."""

    log_prefill: float = 0.0
    log_step: float = 0.0
    log_step_per_log_batch: float = 0.0
    fixed_s: float = 0.0

    def applied(self, raw: ReplyTime) -> ReplyTime:
        """The raw prediction with what was learned of the speeds."""
        prefill = math.exp(self.log_prefill)
        step = math.exp(self.log_step + self.log_step_per_log_batch * _log_batch(raw))
        return ReplyTime(
            raw.wait_s * prefill, raw.prefill_s * prefill, raw.step_s * step, raw.batch,
            raw.fixed_s + self.fixed_s,
        )  # fmt: skip


class Calibrator:
    """One tier's learned speed, error and calibration.

    Args:
        is_measured: the raw speeds were measured on this machine, not taken from a table.
    """

    def __init__(self, *, is_measured: bool) -> None:
        spread = SPREAD_OF_MEASUREMENT if is_measured else SPREAD_OF_TABLE
        variances = (spread**2, spread**2, 0.02, 0.25)
        self._squares = LeastSquares(variances, bound=_MOST_LOG_FACTOR)
        self._e2e = ErrorTracker(spread)
        self._ttft = ErrorTracker(max(spread, 0.2))
        self._tpot = ErrorTracker(spread)
        self._groups = GroupCalibration()
        self._usual_s = 0.0

    @property
    def shift_s(self) -> float:
        """What errors are relative to, beside the predicted time itself; in seconds."""
        return max(_SMALLEST_SHIFT_S, _SHIFT_SHARE * self._usual_s)

    @property
    def correction(self) -> Correction:
        prefill, step, slope, fixed = self._squares.parameters
        return Correction(prefill, step, slope, max(0.0, fixed) * _FIXED_UNIT_S)

    @property
    def e2e_error(self) -> Error:
        return self._e2e.error()

    def forecast(
        self, raw: ReplyTime, length: ReplyLength, *, prompt_tokens: int, trust: float = 1.0
    ) -> Forecast:
        """Everything learned, applied to one raw prediction.

        Args:
            trust: below 1 when nothing was learned for long; the prior's band comes back.
        """
        correction = self.correction
        e2e = self._e2e.error(trust=trust)
        time = _scaled(correction.applied(raw), math.exp(e2e.level))
        groups = _groups(raw, length, prompt_tokens)
        return Forecast(
            raw=raw,
            time=time,
            length=length,
            e2e_error=e2e,
            ttft_error=self._ttft.error(trust=trust),
            tpot_error=self._tpot.error(trust=trust),
            shift_s=self.shift_s,
            recalibration=self._groups.recalibration(groups),
            groups=groups,
        )

    def observe(
        self,
        forecast: Forecast,
        *,
        output_tokens: float,
        e2e_s: float,
        ttft_s: float | None = None,
    ) -> None:
        """Takes one finished reply; times in seconds from dispatch.

        The speed is judged at the length that came, the probability by what was forecast: the
        errors have different causes and are learned apart.
        """
        if e2e_s <= 0.0:
            return
        score = score_of(forecast.stated_probability(e2e_s))
        self._groups.observe(forecast.groups, forecast.recalibration, score)
        time = self.correction.applied(forecast.raw)
        error = self._log_ratio(e2e_s, time.e2e_s(output_tokens))
        self._learn_speed(forecast.raw, time, output_tokens, error)
        self._e2e.observe(error)
        self._usual_s += _USUAL_GAIN * (e2e_s - self._usual_s)
        if ttft_s is None:
            return
        level = math.exp(self._e2e.error().level)
        self._ttft.observe(self._log_ratio(ttft_s, time.ttft_s * level))
        if output_tokens > 1 and e2e_s > ttft_s and time.step_s > 0:
            tpot_s = (e2e_s - ttft_s) / (output_tokens - 1)
            self._tpot.observe(math.log(tpot_s / (time.step_s * level)))

    def observe_cut_off(self, forecast: Forecast, *, elapsed_s: float) -> None:
        """Takes a reply that was not finished after `elapsed_s`: a timeout, a cancel, a client
        that left. It says at least that long, so it can only make the tier look slower.
        """
        if elapsed_s <= 0.0:
            return
        score = score_of(forecast.stated_probability(elapsed_s))
        self._groups.observe(forecast.groups, forecast.recalibration, score, is_lower_bound=True)
        longest = self.correction.applied(forecast.raw).e2e_s(forecast.length.most)
        error = self._log_ratio(elapsed_s, longest)
        if error > self._e2e.error().level:
            self._e2e.observe(error)

    def snapshot(self) -> dict[str, Any]:
        """All that was learned, as plain values."""
        return {
            "squares": self._squares.snapshot(),
            "e2e": self._e2e.snapshot(),
            "ttft": self._ttft.snapshot(),
            "tpot": self._tpot.snapshot(),
            "groups": self._groups.snapshot(),
            "usual_s": self._usual_s,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, KeyError, TypeError: it is not such a snapshot.
        """
        self._squares.restore(snapshot["squares"])
        self._e2e.restore(snapshot["e2e"])
        self._ttft.restore(snapshot["ttft"])
        self._tpot.restore(snapshot["tpot"])
        self._groups.restore(snapshot["groups"])
        self._usual_s = max(0.0, float(snapshot["usual_s"]))

    def _learn_speed(
        self, raw: ReplyTime, time: ReplyTime, output_tokens: float, error: float
    ) -> None:
        """One step of Gauss-Newton: each parameter by its share of the predicted time."""
        whole_s = time.e2e_s(output_tokens) + self.shift_s
        decode = max(0.0, output_tokens - 1.0) * time.step_s / whole_s
        features = (
            (time.wait_s + time.prefill_s) / whole_s,
            decode,
            decode * _log_batch(raw),
            _FIXED_UNIT_S / whole_s,
        )
        present = self._e2e.error()
        if present.is_drifting:
            self._squares.forget()
        self._squares.observe(features, error - present.level, noise=present.spread**2)

    def _log_ratio(self, actual_s: float, predicted_s: float) -> float:
        return math.log((actual_s + self.shift_s) / (predicted_s + self.shift_s))


def _scaled(time: ReplyTime, factor: float) -> ReplyTime:
    return replace(
        time,
        wait_s=time.wait_s * factor,
        prefill_s=time.prefill_s * factor,
        step_s=time.step_s * factor,
        fixed_s=time.fixed_s * factor,
    )


def _log_batch(raw: ReplyTime) -> float:
    return math.log1p(raw.batch) - math.log1p(_USUAL_BATCH)


def _groups(raw: ReplyTime, length: ReplyLength, prompt_tokens: int) -> tuple[str, ...]:
    """Coverage is kept within each: everything, and doublings of load, prompt and length."""
    waits = round(math.log2(1.0 + raw.wait_s / raw.prefill_s)) if raw.prefill_s > 0 else 0
    return (
        "all",
        f"load|{round(math.log2(1.0 + raw.batch))}|{min(waits, 8)}",
        f"prompt|{round(math.log2(max(1, prompt_tokens)))}",
        f"length|{round(math.log2(max(1.0, length.mean)))}",
    )
