"""Learns from each outcome what a tier's predictions are worth. Outcomes in, forecasts out.

Layers, each for what the one below cannot know. Least squares correct the speeds of prefill and
decode and how decode slows with the batch, a running level follows the machine when it changes;
both judge a reply by the load it really met, so that a burst is not taken for a slow engine. What
is left when the load was only foreseen is followed per load, so that what happens under overload
says nothing of an idle tier. Group-wise conformal scores make the stated probabilities true.
"""

import math
from bisect import bisect_right
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
# A decode step's factor is learned at these batch sizes and interpolated in between, so that what
# a full engine taught is not extrapolated to an idle one.
_BATCHES = (1.0, 4.0, 16.0, 64.0)
# Of the usual reply time: found on half of a trace, where it made errors of short and long replies
# alike; between 0.1 and 0.4 it hardly matters.
_SHIFT_SHARE = 0.25
_SMALLEST_SHIFT_S = 0.05
_USUAL_GAIN = 0.01
_FORGOTTEN_BY_HALF = 150


@dataclass(frozen=True, slots=True)
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
        return sum(w * log for w, log in zip(_weights(batch), self.log_steps, strict=True))

    def applied(self, raw: ReplyTime) -> ReplyTime:
        """The raw prediction with what was learned of the speeds."""
        prefill = math.exp(self.log_prefill)
        step = math.exp(self.log_step(raw.batch))
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
        variances = (spread**2, *[spread**2] * len(_BATCHES), 0.25)
        self._squares = LeastSquares(variances, bound=_MOST_LOG_FACTOR)
        self._speed = ErrorTracker(spread)
        self._unforeseen: dict[str, ErrorTracker] = {}
        self._seen_at: dict[str, int] = {}
        self._prior_spread = spread
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
        prefill, *steps, fixed = self._squares.parameters
        return Correction(prefill, tuple(steps), max(0.0, fixed) * _FIXED_UNIT_S)

    @property
    def speed_error(self) -> Error:
        """What the engine's speed is off now, after correction."""
        return self._speed.error()

    def forecast(
        self, raw: ReplyTime, length: ReplyLength, *, prompt_tokens: int, trust: float = 1.0
    ) -> Forecast:
        """Everything learned, applied to one raw prediction.

        Args:
            trust: below 1 when nothing was learned for long; the prior's band comes back.
        """
        groups = _groups(raw, length, prompt_tokens)
        speed = self._speed.error(trust=trust)
        e2e = self._e2e_error(groups, trust)
        time = _scaled(self.correction.applied(raw), math.exp(speed.level + e2e.level))
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
        met: ReplyTime | None = None,
        ttft_s: float | None = None,
    ) -> None:
        """Takes one finished reply; times in seconds from dispatch.

        Args:
            met: the raw prediction under the load that the reply really met.


        The speed is judged at the length that came, the probability by what was forecast: the
        errors have different causes and are learned apart.
        """
        if e2e_s <= 0.0:
            return
        score = score_of(forecast.stated_probability(e2e_s))
        self._groups.observe(forecast.groups, forecast.recalibration, score)
        self._learn_speed(met or forecast.raw, output_tokens, e2e_s)
        time = self._at_present_speed(forecast.raw)
        self._tracker(forecast.groups).observe(self._log_ratio(e2e_s, time.e2e_s(output_tokens)))
        self._usual_s += _USUAL_GAIN * (e2e_s - self._usual_s)
        if ttft_s is None:
            return
        time = _scaled(time, math.exp(self._e2e_error(forecast.groups).level))
        self._ttft.observe(self._log_ratio(ttft_s, time.ttft_s))
        if output_tokens > 1 and e2e_s > ttft_s and time.step_s > 0:
            tpot_s = (e2e_s - ttft_s) / (output_tokens - 1)
            self._tpot.observe(math.log(tpot_s / time.step_s))

    def observe_cut_off(self, forecast: Forecast, *, elapsed_s: float) -> None:
        """Takes a reply that was not finished after `elapsed_s`: a timeout, a cancel, a client
        that left. It says at least that long, so it can only make the tier look slower.
        """
        if elapsed_s <= 0.0:
            return
        score = score_of(forecast.stated_probability(elapsed_s))
        self._groups.observe(forecast.groups, forecast.recalibration, score, is_lower_bound=True)
        longest_s = self._at_present_speed(forecast.raw).e2e_s(forecast.length.most)
        error = self._log_ratio(elapsed_s, longest_s)
        if error > self._e2e_error(forecast.groups).level:
            self._tracker(forecast.groups).observe(error)

    def snapshot(self) -> dict[str, Any]:
        """All that was learned, as plain values."""
        return {
            "squares": self._squares.snapshot(),
            "speed": self._speed.snapshot(),
            "unforeseen": {load: t.snapshot() for load, t in self._unforeseen.items()},
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
        self._speed.restore(snapshot["speed"])
        for load, kept in dict(snapshot["unforeseen"]).items():
            self._tracker((str(load),)).restore(kept)
        self._ttft.restore(snapshot["ttft"])
        self._tpot.restore(snapshot["tpot"])
        self._groups.restore(snapshot["groups"])
        self._usual_s = max(0.0, float(snapshot["usual_s"]))

    def _at_present_speed(self, raw: ReplyTime) -> ReplyTime:
        return _scaled(self.correction.applied(raw), math.exp(self._speed.error().level))

    def _e2e_error(self, groups: tuple[str, ...], trust: float = 1.0) -> Error:
        """The error at a load: of itself as far as it was seen, else only as wide as the prior."""
        prior = Error(0.0, self._prior_spread)
        tracker = self._unforeseen.get(groups[0])
        if tracker is None:
            return prior
        # As in the conformal groups: what was long not met is less and less believed.
        unseen = self._speed.observations - self._seen_at[groups[0]]
        return tracker.shrunk(prior, trust=trust * 0.5 ** (unseen / _FORGOTTEN_BY_HALF))

    def _tracker(self, groups: tuple[str, ...]) -> ErrorTracker:
        self._seen_at[groups[0]] = self._speed.observations
        return self._unforeseen.setdefault(groups[0], ErrorTracker(self._prior_spread))

    def _learn_speed(self, met: ReplyTime, output_tokens: float, e2e_s: float) -> None:
        """One step of Gauss-Newton: each parameter by its share of the predicted time."""
        time = self.correction.applied(met)
        error = self._log_ratio(e2e_s, time.e2e_s(output_tokens))
        whole_s = time.e2e_s(output_tokens) + self.shift_s
        decode = max(0.0, output_tokens - 1.0) * time.step_s / whole_s
        features = (
            (time.wait_s + time.prefill_s) / whole_s,
            *(decode * weight for weight in _weights(met.batch)),
            _FIXED_UNIT_S / whole_s,
        )
        present = self._speed.error()
        if present.is_drifting:
            self._squares.forget()
        self._squares.observe(features, error - present.level, noise=present.spread**2)
        self._speed.observe(error)

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


def _weights(batch: float) -> tuple[float, ...]:
    """How much each of `_BATCHES` says of this one: linear in its logarithm."""
    if batch <= _BATCHES[0]:
        return (1.0, *[0.0] * (len(_BATCHES) - 1))
    if batch >= _BATCHES[-1]:
        return (*[0.0] * (len(_BATCHES) - 1), 1.0)
    right = bisect_right(_BATCHES, batch)
    share = math.log(batch / _BATCHES[right - 1]) / math.log(_BATCHES[right] / _BATCHES[right - 1])
    return tuple(
        1.0 - share if i == right - 1 else share if i == right else 0.0
        for i in range(len(_BATCHES))
    )


def _groups(raw: ReplyTime, length: ReplyLength, prompt_tokens: int) -> tuple[str, ...]:
    """Coverage is kept within each: doublings of load, prompt and length.

    Prompt and length are told apart by light, middling and heavy load, so that no group holds both
    an idle and an overloaded machine: what misses under overload must not widen the bounds of an
    idle tier, which would then be refused everything and never be seen to be fast again.
    """
    waits = round(math.log2(1.0 + raw.wait_s / raw.prefill_s)) if raw.prefill_s > 0 else 0
    load = round(math.log2(1.0 + raw.batch))
    weight = 0 if load <= 2 and waits <= 1 else 1 if load <= 4 and waits <= 3 else 2
    return (
        f"load|{load}|{min(waits, 8)}",
        f"prompt|{weight}|{round(math.log2(max(1, prompt_tokens)))}",
        f"length|{weight}|{round(math.log2(max(1.0, length.mean)))}",
    )
