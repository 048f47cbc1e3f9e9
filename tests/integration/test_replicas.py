"""Three replicas of one tier on real Ray: which of them a call reaches, seen from outside."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import orjson
import pytest

from deployments.spec import TierSpec
from tests.integration.conftest import a_body, a_tier
from tests.serving import serving

# One call at a time per replica and 20 ms per token: what waits, waits visibly.
TIMING = {"prefill_base_s": 0.01, "step_base_s": 0.02, "max_num_seqs": 1}
LONG_TOKENS, SHORT_TOKENS = 200, 5


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # No replica is ever full, or Serve would take the other one of the two.
    options = {"num_replicas": 3, "max_ongoing_requests": 100}
    tier = a_tier("small", 1.0, TIMING) | {"deployment_config": options}
    with serving({"llm_configs": [tier]}) as served_at:
        yield served_at


@pytest.fixture
async def pool(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, timeout=60.0) as client:
        await all_replicas_answer(client)
        yield client


async def all_replicas_answer(pool: httpx.AsyncClient) -> None:
    """The tier is ready with its first replica; the router hears of the others a moment later."""
    seen: set[str] = set()
    async with asyncio.timeout(30.0):
        while len(seen) < 3:
            seen.add(await replica_of(pool, 1))


async def replica_of(
    pool: httpx.AsyncClient, tokens: int, headers: dict[str, str] | None = None, **body: Any
) -> str:
    """The replica that answered a call of exactly so many tokens."""
    asked = a_body(max_tokens=tokens, ignore_eos=True, **body)
    response = await pool.post("/v1/chat/completions", json=asked, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["system_fingerprint"])


async def replica_of_stream(pool: httpx.AsyncClient, tokens: int) -> str:
    """As `replica_of`, streamed to its end."""
    asked = a_body(max_tokens=tokens, ignore_eos=True, stream=True)
    response = await pool.post("/v1/chat/completions", json=asked)
    first = response.text.split("\n\n")[0].removeprefix("data: ")
    return str(orjson.loads(first)["system_fingerprint"])


async def test_two_long_calls_go_to_different_replicas(pool: httpx.AsyncClient) -> None:
    for long_call in (replica_of, replica_of_stream):
        first = asyncio.create_task(long_call(pool, LONG_TOKENS))
        await asyncio.sleep(0.3)
        second = asyncio.create_task(replica_of(pool, LONG_TOKENS))
        assert await first != await second


async def test_short_calls_avoid_the_replica_with_a_long_one(pool: httpx.AsyncClient) -> None:
    # Given one replica with 4 s of work in a single call
    long_call = asyncio.create_task(replica_of(pool, LONG_TOKENS))
    await asyncio.sleep(0.3)
    # When ten short calls of 0.1 s come at once, more than its one to each of the others
    short_calls = [replica_of(pool, SHORT_TOKENS) for _ in range(10)]
    answered_by = await asyncio.gather(*short_calls)
    # Then all are answered by the other two, and before the long one ends
    assert not long_call.done()
    assert len(set(answered_by)) == 2
    assert await long_call not in answered_by


@pytest.mark.parametrize("session", ["chat-1", "chat-2", "chat-3"])
async def test_a_session_stays_on_one_replica(pool: httpx.AsyncClient, session: str) -> None:
    by_header = {await replica_of(pool, 1, {"x-session-id": session}) for _ in range(6)}
    by_body = {await replica_of(pool, 1, prompt_cache_key=f"key-{session}") for _ in range(6)}
    assert (len(by_header), len(by_body)) == (1, 1)


async def test_calls_without_a_session_use_several_replicas(pool: httpx.AsyncClient) -> None:
    assert len({await replica_of(pool, 1) for _ in range(20)}) > 1


async def test_a_session_leaves_a_replica_that_is_busy(pool: httpx.AsyncClient) -> None:
    # Given a session whose replica has 4 s of its own work to do
    busy = asyncio.create_task(replica_of(pool, LONG_TOKENS, prompt_cache_key="chat-4"))
    await asyncio.sleep(0.3)
    # When its next call comes, then it does not wait for that
    elsewhere = await replica_of(pool, SHORT_TOKENS, prompt_cache_key="chat-4")
    assert not busy.done()
    assert await busy != elsewhere


# Importing Ray Serve warns, of its own use of pydantic.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("deployment_config", "router"),
    [
        ({}, "RemainingWorkRouter"),
        ({"request_router_config": {}}, "PowerOfTwoChoicesRequestRouter"),
    ],
)
def test_an_empty_block_brings_serves_own_router_back(
    deployment_config: dict[str, Any], router: str
) -> None:
    from deployments.deployment import tier_deployment

    tier = a_tier("small", 1.0, TIMING) | {"deployment_config": deployment_config}
    deployment = tier_deployment(TierSpec.model_validate(tier))._bound_deployment
    config = deployment._deployment_config.request_router_config
    assert config.get_request_router_class().__name__ == router
