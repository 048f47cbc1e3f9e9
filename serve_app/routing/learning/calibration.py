"""Learns from each outcome what a tier's predictions are worth. Outcomes in, forecasts out.

Layers, each for what the one below cannot know. Learned speeds judge a reply by the load it really
met, so that a burst is not taken for a slow engine. What is left when the load was only foreseen
is followed per load, so that what happens under overload says nothing of an idle tier. Group-wise
conformal scores make the stated probabilities true.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from mypy_extensions import mypyc_attr

from serve_app.routing.forecasting.forecast import Forecast
from serve_app.routing.latency import ReplyTime
from serve_app.routing.learning.conformal import GroupCalibration, score_of
from serve_app.routing.learning.errors import (
    SPREAD_OF_MEASUREMENT,
    SPREAD_OF_TABLE,
    Error,
    ErrorTracker,
)
from serve_app.routing.learning.knowledge import Knowledge, Unforeseen
from serve_app.routing.learning.speed import Correction, Speeds, SpeedTracker
from serve_app.routing.lengths.reply import ReplyLength

# Of the usual reply time: found on half of a trace, where it made errors of short and long replies
# alike; between 0.1 and 0.4 it hardly matters.
_SHIFT_SHARE: Final = 0.25
_SMALLEST_SHIFT_S: Final = 0.05
_USUAL_GAIN: Final = 0.01


@mypyc_attr(allow_interpreted_subclasses=True)
class Calibrator:
    """One tier's learned speed, error and calibration.

    Args:
        is_measured: the raw speeds were measured on this machine, not taken from a table.
    """

    def __init__(self, *, is_measured: bool) -> None:
        spread = SPREAD_OF_MEASUREMENT if is_measured else SPREAD_OF_TABLE
        self._prior = Error(0.0, spread)
        self._speed = SpeedTracker(spread)
        self._unforeseen: Mapping[str, Unforeseen] = {}
        self._ttft = ErrorTracker(max(spread, 0.2))
        self._tpot = ErrorTracker(spread)
        self._groups = GroupCalibration()
        self._usual_s = 0.0
        # What errors are relative to, beside the predicted time itself; in seconds.
        self.shift_s = _SMALLEST_SHIFT_S
        # Many decisions rest on what one outcome taught; None once there is a newer one.
        self._known: Knowledge | None = None

    @property
    def correction(self) -> Correction:
        """What was learned of the speeds."""
        return self._speed.correction

    @property
    def speeds(self) -> Speeds:
        """How fast its engine is now, whatever the load."""
        return self._speed.speeds

    @property
    def speed_error(self) -> Error:
        """What the engine's speed is off now, after correction."""
        return self._speed.present

    def knowledge(self, *, trust: float = 1.0) -> Knowledge:
        """All that was learned until now.

        Args:
            trust: below 1 when nothing was learned for long; the prior's band comes back.
        """
        if self._known is None or self._known.trust != trust:
            self._known = Knowledge(
                trust=trust,
                correction=self._speed.correction,
                speed_error=self._speed.error(trust=trust),
                ttft_error=self._ttft.error(trust=trust),
                tpot_error=self._tpot.error(trust=trust),
                prior=self._prior,
                shift_s=self.shift_s,
                unforeseen=self._unforeseen,
                num_replies=self._speed.observations,
                offsets=self._groups.offsets,
            )
        return self._known

    def forecast(
        self, raw: ReplyTime, length: ReplyLength, *, prompt_tokens: int, trust: float = 1.0
    ) -> Forecast:
        """Everything learned, applied to one raw prediction; `trust` as in `knowledge`."""
        return Forecast.of(
            raw,
            length,
            self.knowledge(trust=trust),
            prompt_tokens=prompt_tokens,
            expected_tokens=length.mean,
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

        The speed is judged at the length that came, the probability by what was forecast: the
        errors have different causes and are learned apart.

        Args:
            met: the raw prediction under the load that the reply really met.
        """
        if e2e_s <= 0.0:
            return
        score = score_of(forecast.stated_probability(e2e_s))
        self._groups.observe(forecast.groups, forecast.recalibration, score)
        self._speed.observe(
            met or forecast.raw, output_tokens=output_tokens, e2e_s=e2e_s, shift_s=self.shift_s
        )
        at_speed = self.speeds.applied(forecast.raw)
        load, error = forecast.load_group, self._log_ratio(e2e_s, at_speed.e2e_s(output_tokens))
        self._learn_unforeseen(load, error)
        self._is_usual(self._usual_s + _USUAL_GAIN * (e2e_s - self._usual_s))
        self._known = None
        if ttft_s is not None:
            self._learn_phases(forecast, output_tokens, e2e_s, ttft_s)
            self._known = None

    def observe_cut_off(self, forecast: Forecast, *, elapsed_s: float) -> None:
        """Takes a reply that was not finished after `elapsed_s`: a timeout, a cancel, a client
        that left. It says at least that long, so it can only make the tier look slower.
        """
        if elapsed_s <= 0.0:
            return
        score = score_of(forecast.stated_probability(elapsed_s))
        self._groups.observe(forecast.groups, forecast.recalibration, score, is_lower_bound=True)
        longest_s = self.speeds.applied(forecast.raw).e2e_s(forecast.length.most)
        error = self._log_ratio(elapsed_s, longest_s)
        self._known = None
        if error > self.knowledge().e2e_error(forecast.load_group).level:
            self._learn_unforeseen(forecast.load_group, error)
            self._known = None

    def snapshot(self) -> dict[str, Any]:
        """All that was learned, as plain values."""
        return {
            **self._speed.snapshot(),
            "unforeseen": {load: u.tracker.snapshot() for load, u in self._unforeseen.items()},
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
        self._known = None
        self._speed.restore(snapshot)
        unforeseen = {}
        for load, kept in dict(snapshot["unforeseen"]).items():
            tracker = ErrorTracker(self._prior.spread)
            tracker.restore(kept)
            unforeseen[str(load)] = Unforeseen(tracker, self._speed.observations)
        self._unforeseen = unforeseen
        self._ttft.restore(snapshot["ttft"])
        self._tpot.restore(snapshot["tpot"])
        self._groups.restore(snapshot["groups"])
        self._is_usual(max(0.0, float(snapshot["usual_s"])))

    def _learn_unforeseen(self, load: str, error: float) -> None:
        """Teaches a copy: `Knowledge` that was given out holds on to the old tracker."""
        met = self._unforeseen.get(load)
        tracker = ErrorTracker(self._prior.spread) if met is None else met.tracker.copy()
        tracker.observe(error)
        taught = Unforeseen(tracker, self._speed.observations)
        self._unforeseen = {**self._unforeseen, load: taught}

    def _learn_phases(
        self, forecast: Forecast, output_tokens: float, e2e_s: float, ttft_s: float
    ) -> None:
        """What is left of prefill and decode by themselves, once the whole reply was learned."""
        time = self.knowledge().at(forecast.load_group).speeds.applied(forecast.raw)
        self._ttft.observe(self._log_ratio(ttft_s, time.ttft_s))
        if output_tokens > 1 and e2e_s > ttft_s and time.step_s > 0:
            tpot_s = (e2e_s - ttft_s) / (output_tokens - 1)
            self._tpot.observe(math.log(tpot_s / time.step_s))

    def _log_ratio(self, actual_s: float, predicted_s: float) -> float:
        shift_s = self.shift_s
        return math.log((actual_s + shift_s) / (predicted_s + shift_s))

    def _is_usual(self, usual_s: float) -> None:
        self._usual_s = usual_s
        self.shift_s = max(_SMALLEST_SHIFT_S, _SHIFT_SHARE * usual_s)
