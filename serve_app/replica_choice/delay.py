"""What a call loses among the calls that are already on a replica. Seconds in, seconds out."""

import heapq
from collections.abc import Sequence


def delay_s(left: Sequence[float], slots: int, work_s: float) -> float:
    """Predicted seconds that a call of `work_s` takes longer here than on an idle replica.

    The wait for a slot, plus what shared decode steps cost: a call slows another one only for as
    long as both run, and a full batch is taken to step at half the speed of a single call. So
    a short call sees how many calls there are, and a long one how much work they have left.

    Args:
        left: seconds left of each call, those that run before those that wait.
        slots: calls that decode together.
    """
    shared_s = sum(min(each_s, work_s) for each_s in left) / slots
    return _slot_wait_s(left, slots) + shared_s


def _slot_wait_s(left: Sequence[float], slots: int) -> float:
    """Until all that is there has started and a slot is free, first come, first served."""
    if len(left) < slots:
        return 0.0
    ends = list(left[:slots])
    heapq.heapify(ends)
    for work_s in left[slots:]:
        heapq.heapreplace(ends, ends[0] + work_s)
    return ends[0]
