"""Everybody else, while a crowd holds the server up: who is served, how fast, at what price."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from serve_app.bench.client import Address, connected, post
from serve_app.bench.hostile.crowds import crowd
from serve_app.bench.overhead.measures import quantile

_MB = 1e6
_GIVE_UP_S = 30.0
_BODY = {
    "model": "auto", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Served:
    """What others got: seconds of those answered, from connecting on, and those who were not."""

    answered_s: tuple[float, ...]
    num_failed: int

    @property
    def p50_ms(self) -> float:
        return 1e3 * quantile(list(self.answered_s), 0.5) if self.answered_s else float("nan")

    @property
    def p99_ms(self) -> float:
        return 1e3 * quantile(list(self.answered_s), 0.99) if self.answered_s else float("nan")

    @property
    def share(self) -> float:
        return len(self.answered_s) / max(1, len(self.answered_s) + self.num_failed)


@dataclass(frozen=True, slots=True)
class Round:
    """One crowd. memory_mb, descriptors: how much more than before, in all of the server."""

    name: str
    asked: int
    num_open: int
    served: Served
    memory_mb: float
    descriptors: int

    def as_document(self) -> dict[str, Any]:
        return {
            "crowd": self.name, "asked": self.asked, "open": self.num_open,
            "others_served": round(self.served.share, 4),
            "others_p50_ms": round(self.served.p50_ms, 1),
            "others_p99_ms": round(self.served.p99_ms, 1),
            "memory_mb": round(self.memory_mb, 1), "descriptors": self.descriptors,
        }  # fmt: skip


async def endure(
    kind: str | None,
    number: int,
    address: Address,
    processes: Callable[[], Iterable[psutil.Process]],
    *,
    requests: int,
) -> Round:
    """Others' requests, one after the other on new connections, beside a crowd or beside none."""
    memory, descriptors = _used(processes())
    if kind is None:
        return Round("nobody", 0, 0, await _others(address, requests), 0.0, 0)
    async with crowd(kind, number, address) as gathered:
        served = await _others(address, requests)
        now_memory, now_descriptors = _used(processes())
        return Round(
            kind, number, gathered.num_open, served,
            (now_memory - memory) / _MB, now_descriptors - descriptors,
        )  # fmt: skip


async def _others(address: Address, requests: int) -> Served:
    request = post(address, "/v1/chat/completions", _BODY)
    loop = asyncio.get_running_loop()
    seconds: list[float] = []
    num_failed = 0
    for _ in range(requests):
        begun_s = loop.time()
        try:
            async with asyncio.timeout(_GIVE_UP_S), connected(address) as connection:
                status = (await connection.send(request)).status
        except (OSError, EOFError, ValueError):
            status = 0
        if status == 200:
            seconds.append(loop.time() - begun_s)
        else:
            num_failed += 1
    return Served(tuple(seconds), num_failed)


def _used(processes: Iterable[psutil.Process]) -> tuple[int, int]:
    """Bytes of memory of their own, and file descriptors, of all processes together."""
    memory = descriptors = 0
    for process in processes:
        with suppress(psutil.Error):
            memory += process.memory_full_info().uss
            descriptors += process.num_fds()
    return memory, descriptors
