"""Values as JSON lines on disk, written behind the caller's back: it never waits, never fails."""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson

from serve_app.storage.line_files import LineFiles

log = logging.getLogger("ray.serve.tandem")

_MOST_LINES_A_WRITE = 256


class Journal:
    """A bounded queue in memory and a thread that empties it.

    Args:
        files: used by the thread only. name: how warnings call it, e.g. `The decision log`.
        max_waiting: lines kept in memory while the disk is slow or full; more are dropped.
        flush_every_s: seconds that a line waits at most, on a disk that works.

    num_dropped: values that were lost: too many were waiting, it was closed, or it was no JSON.
    """

    def __init__(
        self, files: LineFiles, name: str, *, max_waiting: int = 4096, flush_every_s: float = 0.5
    ) -> None:
        self.num_dropped = 0
        self._files = files
        self._name = name
        self._max_waiting = max_waiting
        self._flush_every_s = flush_every_s
        self._waiting: deque[bytes] = deque()
        self._is_closed = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="tandem-journal", daemon=True)
        self._thread.start()

    def append(self, value: Mapping[str, Any]) -> None:
        """Queues one line. The thread is not woken: it looks by itself, many lines at a time."""
        if len(self._waiting) >= self._max_waiting or self._is_closed.is_set():
            self.num_dropped += 1
            return
        try:
            self._waiting.append(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
        except orjson.JSONEncodeError:
            self.num_dropped += 1
            log.exception("%s: a line was left out because it is no JSON.", self._name)

    def close(self, timeout_s: float = 5.0) -> None:
        """Writes what is waiting; blocks for at most `timeout_s` seconds. Safe to call twice."""
        self._is_closed.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_closed.wait(self._flush_every_s):
            self._flush()
        self._flush()
        self._files.close()
        self.num_dropped += len(self._waiting)
        self._waiting.clear()

    def _flush(self) -> None:
        try:
            while self._waiting:
                self._write_some()
        except OSError as err:
            if not self._is_failing:
                log.warning(
                    "%s cannot be written: %s. Requests are served all the same; up to %d "
                    "lines wait in memory and further ones are dropped until it can.",
                    self._name, err, self._max_waiting,
                )  # fmt: skip
            self._is_failing = True

    def _write_some(self) -> None:
        # By index, because the request path may append meanwhile, which ends an iteration.
        num_lines = min(len(self._waiting), _MOST_LINES_A_WRITE)
        num_written = self._files.write([self._waiting[i] for i in range(num_lines)])
        # Lines leave the queue once they are in the file: a full disk loses none that fit here.
        for _ in range(num_written):
            self._waiting.popleft()
        if self._is_failing:
            log.info("%s is written again.", self._name)
        self._is_failing = False


def parsed(line: bytes) -> dict[str, Any] | None:
    """The value of one line; None when it is torn or something else."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
