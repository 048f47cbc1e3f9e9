"""Loads that come and go. Lengths and a mean rate in, Requests out, in order of arrival."""

import math
import random
from collections.abc import Iterator, Sequence

from serve_app.simulator.arrivals import synthesize
from serve_app.simulator.trace import Request

_WINDOW_S = 60.0
# A day is as 0.6 + cos: a third of it there is nobody. The mean of that is 0.678.
_DAY_OFFSET, _DAY_MEAN = 0.6, 0.678
_BURST_S = 300.0
_BURST_EVERY_S = 1500.0
_QUIET_SHARE = 0.5


def diurnal(
    lengths: Sequence[Request], *, mean_per_s: float, duration_s: float, seed: int
) -> Iterator[Request]:
    """A day squeezed into the duration, from noon to noon: 2.4 times the mean, at night nobody."""
    rates = [
        mean_per_s * max(0.0, _DAY_OFFSET + math.cos(2 * math.pi * middle_s / duration_s))
        / _DAY_MEAN
        for middle_s in _middles(duration_s)
    ]  # fmt: skip
    return _drawn(rates, lengths, seed)


def bursty(
    lengths: Sequence[Request], *, mean_per_s: float, duration_s: float, seed: int
) -> Iterator[Request]:
    """Half the mean, and five minutes of three times the mean out of every twenty-five."""
    shift_s = random.Random(seed).uniform(_BURST_S, _BURST_EVERY_S)
    peak_share = _QUIET_SHARE + (1.0 - _QUIET_SHARE) * _BURST_EVERY_S / _BURST_S
    rates = [
        mean_per_s
        * (peak_share if (middle_s - shift_s) % _BURST_EVERY_S < _BURST_S else _QUIET_SHARE)
        for middle_s in _middles(duration_s)
    ]
    return _drawn(rates, lengths, seed)


def _middles(duration_s: float) -> list[float]:
    return [(i + 0.5) * _WINDOW_S for i in range(math.ceil(duration_s / _WINDOW_S))]


def _drawn(rates: list[float], lengths: Sequence[Request], seed: int) -> Iterator[Request]:
    return synthesize(rates, lengths=lengths, randomness=random.Random(seed), window_s=_WINDOW_S)
