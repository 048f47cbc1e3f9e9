"""Breaks one thing after the other under a steady load, and waits until all is well again."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx

from serve_app.bench.chaos.callers import Answer, Callers
from serve_app.bench.chaos.faults import Faults, Kind, Victim

_CALM_S = 2.0
_POLL_S = 0.25
_PATIENCE_S = 120.0
_PROBE = {"model": "auto", "max_tokens": 1, "messages": [{"role": "user", "content": "probe"}]}

# Told of each round as it begins.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Round:
    """One fault. recovered_after_s: until what was broken ran again and a new caller got an
    answer; None when that did not happen. answers: to requests that ended after the fault.
    """

    victim: Victim
    recovered_after_s: float | None
    answers: tuple[Answer, ...]


async def rounds(
    kinds: Sequence[Kind], faults: Faults, callers: Callers, base_url: str, say: Say,
    patience_s: float = _PATIENCE_S,
) -> list[Round]:  # fmt: skip
    """A round for each of the kinds, in this order; those that cannot be caused are left out.

    What is not back `patience_s` after its fault has not recovered.
    Cancelled, as by Ctrl-C, it returns those that had ended: an hour of them is worth a report.
    """
    done: list[tuple[Victim, float | None, float]] = []
    load = asyncio.create_task(callers.run())
    try:
        await asyncio.sleep(_CALM_S)
        wanted = _counts(faults)
        for kind in kinds:
            began_s = time.monotonic()
            victim = await faults.cause(kind)
            if victim is None:
                continue
            say(f"{kind}: {victim.title[:60]}")
            if victim.replicas is not None:
                wanted["replica"] = victim.replicas
                wanted["engine"] = min(wanted["engine"], 1) * victim.replicas
            back_at_s = await _recovery(faults, wanted, began_s + patience_s, base_url)
            recovered_after_s = None if back_at_s is None else back_at_s - began_s
            await faults.end(victim)
            await asyncio.sleep(_CALM_S)
            done.append((victim, recovered_after_s, began_s))
    except asyncio.CancelledError:
        say(f"interrupted after {len(done)} of {len(kinds)} rounds")
    finally:
        load.cancel()
        with suppress(asyncio.CancelledError):
            await load
    return _with_answers(done, callers.answers)


async def _recovery(
    faults: Faults, wanted: dict[Kind, int], give_up_at_s: float, base_url: str
) -> float | None:
    """When all was well again; None when it was not by then."""
    while time.monotonic() < give_up_at_s:
        await asyncio.sleep(_POLL_S)
        now = _counts(faults)
        is_whole = all(now[kind] >= count for kind, count in wanted.items())
        if is_whole and await _answers(base_url):
            return time.monotonic()
    return None


def _counts(faults: Faults) -> dict[Kind, int]:
    kinds: tuple[Kind, ...] = (
        "replica", "engine", "router", "haproxy", "node", "controller", "gcs",
    )  # fmt: skip
    counts = {kind: len(faults.alive(kind)) for kind in kinds}
    # One that listens is enough; more are there for a while after each change.
    return counts | {"haproxy": min(1, counts["haproxy"])}


async def _answers(base_url: str) -> bool:
    with suppress(httpx.HTTPError):
        # A new connection each time, as of a new caller.
        async with httpx.AsyncClient(base_url=base_url, timeout=5.0) as client:
            response = await client.post("/v1/chat/completions", json=_PROBE)
            return response.status_code == 200
    return False


def _with_answers(
    done: Sequence[tuple[Victim, float | None, float]], answers: Sequence[Answer]
) -> list[Round]:
    ends = [began_s for _, _, began_s in done[1:]] + [float("inf")]
    return [
        Round(
            victim,
            recovered_after_s,
            tuple(answer for answer in answers if began_s <= answer.ended_at_s < end_s),
        )
        for (victim, recovered_after_s, began_s), end_s in zip(done, ends, strict=False)
    ]
