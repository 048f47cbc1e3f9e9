"""What a tier's capacity is worth while it is short. Outcomes of choices in, a price out.

The dual of "as much quality as the tier's capacity allows": while requests that would prefer the
tier are crowded out, its price rises and those that gain least per second of its work go
elsewhere first; while nobody is, it falls to nothing.
"""

_CROWDED_TARGET = 0.05
_STEP = 0.02
_MOST = 4.0
_WORK_GAIN = 0.02


class ShadowPrice:
    """One tier's price: the share of the usual quality gain that usual work there must bring.

    1 means: a request of mean work goes there only if it gains more than requests usually do.
    """

    def __init__(self) -> None:
        self.price = 0.0
        self._mean_work_s = 0.0
        self._mean_gain = 0.0

    def of(self, work_s: float) -> float:
        """What this much work costs, in units of quality."""
        if self._mean_work_s <= 0.0:
            return 0.0
        return self.price * self._mean_gain * work_s / self._mean_work_s

    def wanted(self, *, work_s: float, gain: float, is_crowded: bool) -> None:
        """Notes a request that the idle tier would have served best.

        Args:
            work_s: seconds of one sequence on an idle replica. gain: of quality over the next
                best tier. is_crowded: the load of the moment kept it out.
        """
        first = self._mean_work_s <= 0.0
        share = 1.0 if first else _WORK_GAIN
        self._mean_work_s += share * (work_s - self._mean_work_s)
        self._mean_gain += share * (gain - self._mean_gain)
        step = _STEP * ((1.0 if is_crowded else 0.0) - _CROWDED_TARGET)
        self.price = min(_MOST, max(0.0, self.price + step))
