"""Predicted work in calls, in seconds. Calls in, what is left of them out.

Router and replica count it with the same `WorkInHand`, so that the one can take its own share out
of what the other reports.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.messages import EngineCall

# For calls without a prediction: the order of magnitude of a 7B model on one GPU. Only the ratio
# between calls matters to whoever compares replicas.
_ASSUMED_STEP_S = 0.02
_ASSUMED_PREFILL_S_PER_CHARACTER = 5e-5
_UNIT_S = 1.0
# Router and engine may run on two machines whose clocks agree only so well.
_CLOCK_SKEW_S = 1.0
# A call that outlasts its prediction is not done: replies have long tails, and what is left of
# one says little about how long it has already run.
_LEAST_SHARE_LEFT = 0.2


def predicted_work_s(call: EngineCall) -> float:
    """The call's own prediction; else by the lengths in its body; else one second."""
    work_s = call.get("work_s")
    if work_s is not None:
        return work_s
    body = call["body"]
    text = body.get("prompt") or body.get("messages") or ""
    prefill_s = len(str(text)) * _ASSUMED_PREFILL_S_PER_CHARACTER
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    decode_s = limit * _ASSUMED_STEP_S if isinstance(limit, int) else _UNIT_S
    return prefill_s + decode_s


class WorkInHand:
    """Predicted seconds left in calls that were handed over and have not finished.

    Dead-reckoned: of the oldest `slots` calls each loses a second per second, the others wait.
    `now` is monotonic seconds everywhere. num_added: calls so far.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: dict[object, tuple[float, float]] = {}
        self._waiting: dict[object, float] = {}
        self.num_added = 0

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting)

    def add(self, key: object, work_s: float, now: float) -> None:
        self.num_added += 1
        if len(self._running) < self._slots:
            self._running[key] = (work_s, now)
            return
        self._waiting[key] = work_s

    def remove(self, key: object, now: float) -> None:
        """Ends a call, finished or not; the one that waited longest starts in its place."""
        self._waiting.pop(key, None)
        if self._running.pop(key, None) is None or not self._waiting:
            return
        following = next(iter(self._waiting))
        self._running[following] = (self._waiting.pop(following), now)

    def left(self, now: float) -> list[float]:
        """Seconds left of each call, those that run before those that wait."""
        running = [
            max(work_s - (now - started_s), work_s * _LEAST_SHARE_LEFT)
            for work_s, started_s in self._running.values()
        ]
        return running + list(self._waiting.values())

    def left_s(self, now: float) -> float:
        return sum(self.left(now))

    def broadcast(self, now: float) -> dict[str, float]:
        """Calls and their work, rounded down to powers of two.

        For `record_routing_stats`: Serve sends it to every router whenever it changes.
        """
        return {"calls": _floor2(len(self)), "work_s": _floor2(self.left_s(now))}


@contextmanager
def held(in_hand: WorkInHand, call: EngineCall) -> Iterator[None]:
    """Counts the call as in hand until the end of the block, on the machine's monotonic clock."""
    # Not by the request's id, which callers choose and may repeat.
    key = object()
    in_hand.add(key, predicted_work_s(call), time.monotonic())
    try:
        yield
    finally:
        in_hand.remove(key, time.monotonic())


def _floor2(value: float) -> float:
    return 2.0 ** math.floor(math.log2(value)) if value >= 1.0 else 0.0


class Expired(Exception):
    """Nobody waits for this call any more; it spent its time in a queue."""

    http_status = 408


def refuse_expired(call: EngineCall) -> None:
    """Spares the engine a prefill whose reply nobody would read.

    Raises:
        Expired: the call's deadline has passed.
    """
    late_s = time.time() - call.get("expires_at_s", math.inf)
    if late_s > _CLOCK_SKEW_S:
        raise Expired(f"The deadline passed {late_s:.1f} s before the engine saw the request.")
