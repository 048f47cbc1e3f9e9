"""What share of replies is there in time. Two distributions in, a share out; pure arithmetic.

Neither a reply's length nor the error of its predicted time is known: log((actual + shift) /
(predicted + shift)) is normal around 0, and lengths are counted.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from serve_app.routing.latency import ReplyTime
from serve_app.routing.lengths.reply import ReplyLength

_SURE: Final = 3.3
_LEAST_S: Final = 1e-6
# Of replies that lie between 1 and more spreads off their predicted time, and between 0 and 1.
_FAR: Final = 0.5 * math.erfc(math.sqrt(0.5))
_NEAR: Final = 0.5 - _FAR


# Never changed, but not frozen: what is worked out is kept by hand, as in `Candidate`.
@dataclass(slots=True)
class InTime:
    """Replies of one request, and a limit.

    length: of the reply. time: predicted, corrected. spread: standard deviation of its error.
    limit_s: positive. shift_s: added to actual and predicted before they are compared.
    """

    length: ReplyLength
    time: ReplyTime
    spread: float
    limit_s: float
    shift_s: float
    _bounds: tuple[float, float] | None = field(default=None, init=False, repr=False)
    _share: float | None = field(default=None, init=False, repr=False)

    def reaches(self, share: float) -> bool:
        """Whether `share()` is that or more, which is mostly known from its bounds."""
        if self._share is None:
            if self._bounds is None:
                self._bounds = self.bounds()
            low, high = self._bounds
            if low >= share or high < share:
                return low >= share
        return self.share() >= share

    def share(self) -> float:
        """Of replies that are there within the limit."""
        if self._share is None:
            self._share = self._summed()
        return self._share

    def bounds(self) -> tuple[float, float]:
        """Between what `share()` lies, for a third of its time.

        An error between 0 and 1 spread, or between 1 and 3.3, is taken for the one, then for the
        other. That is most often enough to tell whether a tier is feasible.
        """
        length, shifted_s = self.length, self.limit_s + self.shift_s
        before_s, step_s = self._line()
        margin = math.exp(_SURE * self.spread)
        sure_tokens = (shifted_s / margin - before_s) / step_s
        if sure_tokens >= length.most:
            return 1.0, 1.0
        possible_tokens = (shifted_s * margin - before_s) / step_s
        if possible_tokens < length.least:
            return 0.0, 0.0
        margin = math.exp(self.spread)
        sure, early, punctual, late, possible = length.shares_within(
            sure_tokens,
            (shifted_s / margin - before_s) / step_s,
            (shifted_s - before_s) / step_s,
            (shifted_s * margin - before_s) / step_s,
            possible_tokens,
        )
        return (
            _FAR * (sure + late) + _NEAR * (early + punctual),
            _FAR * (early + possible) + _NEAR * (punctual + late),
        )

    def _summed(self) -> float:
        """The share as a sum over lengths.

        Only lengths whose time lies within 3.3 spreads of the limit need the normal
        distribution; shorter ones surely fit, longer ones surely do not (1 in 2,000 each).
        """
        length, shifted_s = self.length, self.limit_s + self.shift_s
        before_s, step_s = self._line()
        margin = math.exp(_SURE * self.spread)
        sure = (shifted_s / margin - before_s) / step_s
        if sure >= length.most:
            return 1.0
        possible = (shifted_s * margin - before_s) / step_s
        tokens, shares, shorter = length.between(sure, possible)
        scale, erfc = 1.0 / (self.spread * math.sqrt(2.0)), math.erfc
        twice = 0.0
        for i in range(len(tokens)):
            error = math.log((before_s + tokens[i] * step_s) / shifted_s)
            twice += shares[i] * erfc(error * scale)
        return min(1.0, shorter + 0.5 * twice)

    def _line(self) -> tuple[float, float]:
        """A reply's time is `before_s + tokens * step_s`, as in `ReplyTime.e2e_s`."""
        time = self.time
        step_s = time.step_s if time.step_s > _LEAST_S else _LEAST_S
        return time.ttft_s + self.shift_s - step_s, step_s
