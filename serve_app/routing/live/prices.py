"""What a tier's capacity is worth while it is short. Outcomes of choices in, a price out.

A tier that can serve a share f of those who would prefer it should serve those who gain most per
second of its work. So a request must gain as much per second as the (1 - f) quantile of them: the
dual price of capacity in a fractional knapsack (Dantzig 1957), read off instead of solved for.
"""

from collections import deque
from typing import Final

from mypy_extensions import mypyc_attr

_REMEMBERED: Final = 200
_UPDATED_EVERY: Final = 10
_GAIN: Final = 0.02


@mypyc_attr(allow_interpreted_subclasses=True)
class ShadowPrice:
    """One tier's price, in units of quality per second of its work; 0 while nobody is kept out."""

    def __init__(self) -> None:
        self.per_work_s = 0.0
        self._crowded_share = 0.0
        self._worths: deque[float] = deque(maxlen=_REMEMBERED)
        self._num_seen = 0

    @property
    def is_short(self) -> bool:
        """Whether callers were kept out lately."""
        return self._crowded_share * _REMEMBERED >= 1.0

    def wanted(self, worth: float | None, *, is_crowded: bool) -> None:
        """Notes a request that the idle tier would have served best.

        Args:
            worth: quality that it would have gained over the next best tier, per second of work;
                may be None, for not known, unless the tier `is_short`. is_crowded: the load of the
                moment kept it out.
        """
        self._crowded_share += _GAIN * (float(is_crowded) - self._crowded_share)
        if worth is not None:
            self._worths.append(worth)
        self._num_seen += 1
        if self._num_seen % _UPDATED_EVERY == 0:
            position = int(self._crowded_share * len(self._worths))
            # Who is worth exactly the price still goes there: equals are never turned away.
            self.per_work_s = sorted(self._worths)[position - 1] if position else 0.0
