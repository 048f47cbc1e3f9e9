"""Ends a replica whose engine is dead or stands still, so that Serve starts another.

Serve's own health check would leave it in rotation for three periods. Knows no vLLM: what the
engine says of itself is handed in.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

log = logging.getLogger("ray.serve.tandem")

_POLL_S = 0.5
# Longer than any step, and than an engine that compiles something.
_STALLED_AFTER_S = 60.0
_STALLED_AFTER = "TANDEM_ENGINE_STALLED_AFTER_S"
# Calls in flight are told first.
_LAST_WORDS_S = 0.5


class Progress:
    """Whether an engine that has work does any. Counts in, seconds out; no clock."""

    def __init__(self) -> None:
        self._num_steps = -1
        self._since_s: float | None = None

    def idle_s(self, num_steps: int, num_unfinished: int, now: float) -> float:
        """Seconds since the last step, while there was something to do all the time."""
        if num_steps != self._num_steps or not num_unfinished or self._since_s is None:
            self._num_steps, self._since_s = num_steps, now
        return now - self._since_s


class EngineWatch:
    """Looks after one engine for as long as its replica lives.

    Args:
        is_dead, num_steps, num_unfinished: what the engine says of itself, now.
    """

    def __init__(
        self,
        is_dead: Callable[[], bool],
        num_steps: Callable[[], int],
        num_unfinished: Callable[[], int],
    ) -> None:
        self._is_dead = is_dead
        self._num_steps = num_steps
        self._num_unfinished = num_unfinished
        self._stalled_after_s = float(os.environ.get(_STALLED_AFTER, _STALLED_AFTER_S))
        self._children: list[psutil.Process] = []

    async def run(self) -> None:
        """Returns never: it is cancelled with its replica, or ends it."""
        progress = Progress()
        while True:
            await asyncio.sleep(_POLL_S)
            if self._is_dead():
                log.error("The engine is dead; this replica ends.")
                await asyncio.sleep(_LAST_WORDS_S)
                self._end()
            idle_s = progress.idle_s(self._num_steps(), self._num_unfinished(), time.monotonic())
            if idle_s > self._stalled_after_s:
                log.error("The engine has stood still for %.0f s; this replica ends.", idle_s)
                self._end()
            # While their parent lives: a dead engine's workers could not be found any more.
            with suppress(psutil.Error):
                self._children = psutil.Process().children(recursive=True)

    def _end(self) -> None:
        for child in self._children:
            # SIGKILL also ends what was stopped.
            with suppress(psutil.Error):
                child.kill()
        os._exit(1)
