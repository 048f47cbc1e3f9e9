"""The decision log: one JSON line per ended request, on disk, bounded. Entries in, entries out.

Enough to replay every decision under another policy, and no prompt or reply text. The fields are
explained in docs/decision_log.md.
"""

import heapq
import logging
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, TypedDict

from serve_app.storage.journal import Journal, parsed
from serve_app.storage.line_files import LineFiles, files, lines, lines_backwards, newest_first

log = logging.getLogger("ray.serve.tandem")

SCHEMA: Literal[1] = 1
_MOST_BYTES_SEARCHED = 2**28


class CandidateEntry(TypedDict):
    """What one tier was predicted to do. Times from dispatch, now; probabilities 0 to 1."""

    tier: str
    prompt_tokens: int
    expected_output_tokens: float
    predicted_e2e_ms: float
    predicted_ttft_ms: float
    predicted_tpot_ms: float
    wait_ms: float
    idle_e2e_ms: float
    batch: float
    correction_factor: float
    probability: float
    idle_probability: float
    quality: float
    cost_usd: float
    is_feasible: bool
    excluded: str | None
    why_not: str | None


class DecisionEntry(TypedDict):
    """One ended request: asked, predicted (`candidates`), chosen, happened.

    `_s` are Unix seconds on the router's wall clock; `_ms` are durations, from arrival unless the
    document says otherwise. None: not asked, or never happened.
    """

    schema: Literal[1]
    decision_id: str
    replica: str
    arrived_at_s: float
    ended_at_s: float
    endpoint: str
    is_streamed: bool
    route_key: str | None
    task: str
    slo_class: str | None
    slo_e2e_ms: float | None
    slo_ttft_ms: float | None
    slo_tpot_ms: float | None
    slo_attainment: float
    slo_source: str
    on_infeasible: list[str]
    deadline_ms: float
    max_tokens: int | None
    min_tokens: int
    expected_output_tokens: int | None
    sequences: int
    is_length_fixed: bool
    pinned_tier: str | None
    priority: int | None
    candidates: list[CandidateEntry]
    objective: str
    tier: str | None
    reason: str | None
    is_exploration: bool
    predicted_e2e_ms: float | None
    bound95_e2e_ms: float | None
    probability: float | None
    status: int
    error_code: str | None
    attempts: int
    decided_ms: float | None
    dispatched_ms: float | None
    ttft_ms: float | None
    e2e_ms: float
    tier_ms: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    is_length_cut: bool | None
    is_censored: bool
    is_slo_met: bool | None
    is_bound95_covered: bool | None


class DecisionLog:
    """Appends entries in a background thread; never waits and never fails for the caller.

    Args:
        replica: names this writer's files; each router replica needs one of its own.
        max_bytes: size of one file. max_files: how many this replica keeps.

    Raises:
        ValueError: when `replica` does not fit in a file name.
    """

    def __init__(self, folder: Path, *, replica: str, max_bytes: int, max_files: int) -> None:
        self._folder = folder
        mine = LineFiles(folder, replica=replica, max_bytes=max_bytes, max_files=max_files)
        self._journal = Journal(mine, f"The decision log in {folder}")

    @property
    def num_dropped(self) -> int:
        """Entries that were lost: the disk was too slow or full, or the log was closed."""
        return self._journal.num_dropped

    def append(self, entry: Mapping[str, Any]) -> None:
        """Takes a DecisionEntry; it is on disk within a second when the disk works."""
        self._journal.append(entry)

    def close(self) -> None:
        """Writes what is waiting; blocks for at most 5 s. Safe to call twice."""
        self._journal.close()

    def find(self, decision_id: str) -> dict[str, Any] | None:
        """The newest entry of this id in the folder, whichever replica wrote it; None if none.

        Blocks: call it in a thread. Looks at no more than the newest 256 MiB.

        Raises:
            OSError: when the folder or a file cannot be read.
        """
        key = b'"decision_id":"%s"' % decision_id.encode(errors="replace")
        bytes_left = _MOST_BYTES_SEARCHED
        for path in newest_first(self._folder):
            for line in lines_backwards(path):
                entry = parsed(line) if key in line else None
                if entry is not None and entry.get("decision_id") == decision_id:
                    return entry
                bytes_left -= len(line)
                if bytes_left < 0:
                    return None
        return None


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """All entries of all replicas in the order in which their requests ended.

    Torn lines are left out, and so are files that are rotated away meanwhile.

    Raises:
        OSError: when the folder or a file cannot be read.
    """
    replicas = files(folder).values()
    yield from heapq.merge(*map(_entries, replicas), key=itemgetter("ended_at_s"))


def _entries(paths: list[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        num_unreadable = 0
        for line in lines(path):
            entry = parsed(line)
            if entry is not None and isinstance(entry.get("ended_at_s"), int | float):
                yield entry
            elif line.endswith(b"\n"):
                num_unreadable += 1
        if num_unreadable:
            log.warning("%s: %d lines are no decision entries.", path, num_unreadable)
