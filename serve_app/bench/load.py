"""Loads: requests in, times out. Each fails on the first reply that is not a 200."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from serve_app.bench.client import Address, Connection, Exchange, connected


class LoadFailed(RuntimeError):
    """A request was refused: what was to be measured did not happen."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Replies to requests that were sent together; elapsed_s: until the last one was whole."""

    replies: tuple[Exchange, ...]
    elapsed_s: float


async def one_by_one(address: Address, requests: Sequence[bytes]) -> list[Exchange]:
    """Each request after the reply to the one before, on one connection."""
    async with connected(address) as connection:
        return [await answered(connection, request) for request in requests]


async def together(address: Address, requests: Sequence[bytes]) -> Burst:
    """All requests at once, each on a connection of its own that was opened before."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(address)) for _ in requests]
        begun = time.perf_counter()
        pairs = zip(connections, requests, strict=True)
        replies = await asyncio.gather(*(answered(*pair) for pair in pairs))
        return Burst(tuple(replies), time.perf_counter() - begun)


async def closed_loop(
    address: Address, request: bytes, *, connections: int, duration_s: float
) -> list[float]:
    """Latencies in seconds of what `connections` callers got who each ask again at once.

    Requests per second are `len(latencies) / duration_s`: what ends later is not counted.
    """
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connected(address)) for _ in range(connections)]
        until = time.perf_counter() + duration_s
        callers = [_ask_until(until, connection, request) for connection in opened]
        return [latency for latencies in await asyncio.gather(*callers) for latency in latencies]


async def answered(connection: Connection, request: bytes) -> Exchange:
    """The reply, which is a 200.

    Raises:
        LoadFailed: it is not.
    """
    reply = await connection.send(request)
    if reply.status != 200:
        raise LoadFailed(f"answered {reply.status}: {reply.body[:300].decode(errors='replace')}")
    return reply


async def _ask_until(until: float, connection: Connection, request: bytes) -> list[float]:
    latencies: list[float] = []
    while True:
        latency = (await answered(connection, request)).e2e_s
        if time.perf_counter() > until:
            return latencies
        latencies.append(latency)
