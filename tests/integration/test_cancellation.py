"""A client that leaves stops the engine, under HAProxy, on warm connections."""

import asyncio

import httpx

from tests.cancelling import num_in_engines, rounds_not_stopped
from tests.integration.conftest import a_body

LONG = a_body(model="large", max_tokens=2000, fake={"output_tokens": 2000})


async def test_a_client_that_leaves_stops_the_engine_every_time(address: str) -> None:
    assert await rounds_not_stopped(address, 24, LONG) == []


async def test_the_engines_count_sees_a_running_request(address: str) -> None:
    """Without this the test above could not fail."""
    async with httpx.AsyncClient(base_url=address, timeout=30.0) as pool:
        request = asyncio.create_task(pool.post("/v1/chat/completions", json=LONG))
        await asyncio.sleep(0.7)
        assert await num_in_engines(pool) == 1
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
