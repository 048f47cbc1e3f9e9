"""A ladder of rates up to the peak, then three times that. A client in, what happened out."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from serve_app.bench.load import LoadFailed
from serve_app.bench.overload.callers import Call, Try, offer, probe
from serve_app.bench.overload.scenario import SLO_S, capacity_per_s, planned

OVERLOAD = 3.0
_LADDER = (0.6, 0.8, 1.0, 1.2)
_STEP_S, _OVERLOAD_S = 30.0, 60.0
NUM_STEPS = len(_LADDER) + 1

# Told of each step as it begins.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Phase:
    """Some seconds at one rate, in requests per second, and every call that began in them."""

    rate_per_s: float
    duration_s: float
    calls: tuple[Call, ...]

    @property
    def goodput_per_s(self) -> float:
        """Replies in time per second, once the first could have used up their time.

        By when they ended: what is still in flight at the end says nothing of the rate.
        """
        ended_at_s = [t.at_s + t.took_s for call in self.calls for t in call.tries if t.is_in_time]
        counted = sum(SLO_S < at_s <= self.duration_s for at_s in ended_at_s)
        return counted / (self.duration_s - SLO_S)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The ladder, the overload, and what was seen beside it.

    health: answers of the health endpoints meanwhile. cpu_share: of the machine, 0 to 1.
    router_state: `/v1/router/state` at the end of the offered load.
    """

    ladder: tuple[Phase, ...]
    overload: Phase
    health: tuple[Try, ...]
    cpu_share: float
    router_state: dict[str, Any]

    @property
    def peak(self) -> Phase:
        return max(self.ladder, key=lambda phase: phase.goodput_per_s)


async def run(client: httpx.AsyncClient, say: Say) -> Outcome:
    """Some five minutes. Every phase begins with idle tiers.

    Raises:
        LoadFailed: not a single reply of the ladder was in time.
    """
    ladder = [await _phase(client, share * capacity_per_s(), _STEP_S, say) for share in _LADDER]
    peak_per_s = max(phase.goodput_per_s for phase in ladder)
    if peak_per_s <= 0.0:
        raise LoadFailed("no reply was in time at any rate; there is no peak to compare with")
    health: list[Try] = []
    probing = asyncio.create_task(probe(client, health))
    watching = asyncio.create_task(_watch(client))
    try:
        overload = await _phase(client, OVERLOAD * peak_per_s, _OVERLOAD_S, say)
    finally:
        probing.cancel()
        with suppress(asyncio.CancelledError):
            await probing
    cpu_share, state = await watching
    return Outcome(tuple(ladder), overload, tuple(health), cpu_share, state)


async def _phase(
    client: httpx.AsyncClient, rate_per_s: float, duration_s: float, say: Say
) -> Phase:
    say(f"{rate_per_s:.1f} requests/s for {duration_s:.0f} s")
    seed = math.floor(rate_per_s * 1000)
    calls = await offer(client, planned(rate_per_s, duration_s, seed))
    return Phase(rate_per_s, duration_s, tuple(calls))


async def _watch(client: httpx.AsyncClient) -> tuple[float, dict[str, Any]]:
    """How busy the machine was while the load was offered, and the router's state at its end."""
    psutil.cpu_percent()
    await asyncio.sleep(_OVERLOAD_S)
    cpu_share = psutil.cpu_percent() / 100
    state: dict[str, Any] = (await client.get("/v1/router/state")).json()
    return cpu_share, state
