"""A constant rate for a long time, with a look at every process now and then."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from serve_app.bench.soak.processes import Trace, Watch
from serve_app.bench.traffic.open_loop import Target, offer
from serve_app.bench.traffic.records import Record
from serve_app.bench.traffic.workload import Asked

# Told of each minute as it ends.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Soaked:
    """What was offered over `duration_s`, what came of it, and what it did to the processes."""

    duration_s: float
    records: tuple[Record, ...]
    traces: tuple[Trace, ...]


async def soak(
    target: Target,
    requests: Sequence[Asked],
    watch: Watch,
    *,
    duration_s: float,
    look_every_s: float,
    say: Say,
) -> Soaked:
    """Offers all requests; looks at the processes until the last is answered."""
    records: list[Record] = []
    looking = asyncio.create_task(_look(watch, look_every_s, records, say))
    try:
        await offer(target, requests, records.append)
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
    return Soaked(duration_s, tuple(records), tuple(watch.traces))


async def _look(watch: Watch, every_s: float, records: Sequence[Record], say: Say) -> None:
    minute = 0
    elapsed_s = 0.0
    while True:
        # In a thread: reading the memory maps of large processes takes a while.
        await asyncio.to_thread(watch.look)
        await asyncio.sleep(every_s)
        elapsed_s += every_s
        if elapsed_s >= 60 * (minute + 1):
            minute += 1
            failures = sum(record.is_failure for record in records)
            say(f"minute {minute}: {len(records)} replies, {failures} failures")
