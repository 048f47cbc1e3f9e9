"""Where a growing function reaches a value. Seconds in and out; knows nothing of replies."""

import math
from collections.abc import Callable
from typing import Final

_LEAST_S: Final = 1e-6
_PRECISION: Final = 5e-4
_MOST_STEPS: Final = 30


def where_reached(
    growing: Callable[[float], float], target: float, low_s: float, high_s: float
) -> float:
    """The seconds at which a growing function reaches a value, from above and to `_PRECISION`.

    False position in the logarithm; an end that stays twice counts half (the Illinois method,
    Dowell and Jarratt 1971).
    """
    left, right = math.log(max(low_s, _LEAST_S)), math.log(high_s)
    short, excess = growing(math.exp(left)) - target, growing(high_s) - target
    if short >= 0.0:
        return math.exp(left)
    was_short: bool | None = None
    for _ in range(_MOST_STEPS):
        if right - left <= _PRECISION:
            break
        share = short / (short - excess) if excess > 0.0 else 0.5
        # Never nearer to an end than that, so that the bracket closes around a good guess.
        middle = min(
            right - _PRECISION / 2, max(left + _PRECISION / 2, left + share * (right - left))
        )
        missing = growing(math.exp(middle)) - target
        is_short = missing < 0.0
        if is_short:
            left, short = middle, missing
            excess = excess / 2 if was_short is True else excess
        else:
            right, excess = middle, missing
            short = short / 2 if was_short is False else short
        was_short = is_short
    return math.exp(right)
