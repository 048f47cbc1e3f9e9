"""Clients that give up, in the ways clients do, and the proof that the engines noticed."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import httpx

GIVE_UP_S = 0.7
Client = Callable[[httpx.AsyncClient, dict[str, Any]], Coroutine[Any, Any, None]]


async def curl_killed(pool: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """curl, killed while it waits: headers and body arrived in one write."""
    address = str(pool.base_url).rstrip("/")
    process = await asyncio.create_subprocess_exec(
        "curl", "-sN", "-o", "/dev/null", "-H", "content-type: application/json",
        "--data-binary", json.dumps(body), f"{address}/v1/chat/completions",
    )  # fmt: skip
    await asyncio.sleep(GIVE_UP_S)
    process.kill()
    await process.wait()


async def new_connection(pool: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """httpx on a connection of its own: headers and body arrived in two writes."""
    async with httpx.AsyncClient(base_url=pool.base_url) as client:
        await pooled_connection(client, body)


async def pooled_connection(pool: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """httpx on a connection that has served before."""
    with suppress(httpx.TimeoutException, TimeoutError):
        async with asyncio.timeout(GIVE_UP_S):
            await pool.post("/v1/chat/completions", json=body, timeout=30.0)


CLIENTS: tuple[Client, ...] = (curl_killed, new_connection, pooled_connection)


async def rounds_not_stopped(address: str, rounds: int, body: dict[str, Any]) -> list[str]:
    """Gives up `rounds` times, streamed and not, and names the rounds whose engine went on.

    An engine has stopped when it says itself, within a second, that nothing runs or waits.
    """
    lost = []
    async with httpx.AsyncClient(base_url=address, timeout=30.0) as pool:
        for number in range(rounds):
            client = CLIENTS[number % len(CLIENTS)]
            is_streamed = number % 2 == 1
            warm = body | {"max_tokens": 1, "min_tokens": 0, "stream": False}
            await asyncio.gather(*(pool.post("/v1/chat/completions", json=warm) for _ in range(2)))
            await client(pool, body | {"stream": is_streamed})
            if not await is_idle_within(pool, 1.0):
                lost.append(f"round {number}: {client.__name__}, streamed: {is_streamed}")
                await is_idle_within(pool, 60.0)
    return lost


async def num_in_engines(pool: httpx.AsyncClient) -> int:
    """Requests that run or wait in the engines, by their own count."""
    tiers = (await pool.get("/v1/router/state")).json()["tiers"].values()
    return sum(tier["engine"]["running"] + tier["engine"]["waiting"] for tier in tiers)


async def is_idle_within(pool: httpx.AsyncClient, seconds: float) -> bool:
    give_up_at = time.monotonic() + seconds
    while await num_in_engines(pool):
        if time.monotonic() > give_up_at:
            return False
        await asyncio.sleep(0.05)
    return True
