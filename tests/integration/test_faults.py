"""Parts of a running service are killed under its requests: real Ray, HAProxy, HTTP; fake tiers."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import orjson
import psutil
import pytest

from serve_app.bench.chaos import scenario
from serve_app.bench.chaos.faults import Faults
from serve_app.bench.client import Address
from serve_app.commands.local.instance import Instance
from tests.integration.conftest import a_body
from tests.serving import running

# A whole reply of 100 tokens takes 3 s on the large tier, which is preferred.
ARGS = scenario.fake_tiers(Address("127.0.0.1", 0))["applications"][0]["args"]
TOKENS = 100
WORDS = " ".join(f"word{number}" for number in range(1, TOKENS + 1))


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with running(ARGS) as served:
        yield served


@pytest.fixture
async def http(instance: Instance) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that is whole."""
    async with httpx.AsyncClient(base_url=instance.address, timeout=60.0) as client:
        async with asyncio.timeout(60.0):
            for tier in ("small", "large"):
                await both_replicas_answer(instance, client, tier)
        yield client


async def both_replicas_answer(instance: Instance, client: httpx.AsyncClient, tier: str) -> None:
    """The controller counts what was killed for a while; who answers lives."""
    heard: set[str] = set()
    while len(heard) < 2 or len(replicas_of(instance, tier)) != 2:
        answer = await client.post("/v1/chat/completions", json=a_body(model=tier, max_tokens=1))
        if answer.status_code == 200:
            heard.add(answer.json()["system_fingerprint"])


def replicas_of(instance: Instance, tier: str) -> list[psutil.Process]:
    return [p for p in Faults(instance.processes, random.Random()).alive("replica")
            if f":tier-{tier}" in p.cmdline()[0]]  # fmt: skip


def a_long_body(**changes: Any) -> dict[str, Any]:
    return a_body(model="auto", max_tokens=TOKENS, ignore_eos=True, **changes)


async def test_a_request_whose_replicas_all_die_is_answered_by_the_other_tier(
    instance: Instance, http: httpx.AsyncClient
) -> None:
    # Given an unstreamed request on the large tier
    asked = asyncio.create_task(http.post("/v1/chat/completions", json=a_long_body()))
    await asyncio.sleep(1.0)
    # When all replicas of that tier are killed
    for process in replicas_of(instance, "large"):
        process.kill()
    # Then its caller sees one 200
    answer = await asked
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == WORDS
    assert int(answer.headers["x-router-attempts"]) >= 2


async def test_a_stream_goes_on_word_for_word_on_another_replica(
    instance: Instance, http: httpx.AsyncClient
) -> None:
    body = a_long_body(stream=True, stream_options={"include_usage": True})
    events = await events_with_a_death(instance, http, body)
    choices = [choice for event in events for choice in event["choices"]]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == WORDS
    assert len({event["id"] for event in events}) == 1
    assert len({event["system_fingerprint"] for event in events}) > 1
    assert events[-1]["usage"]["completion_tokens"] == TOKENS


async def test_a_stream_that_cannot_go_on_says_so(
    instance: Instance, http: httpx.AsyncClient
) -> None:
    events = await events_with_a_death(instance, http, a_long_body(stream=True, logprobs=True))
    assert events[-1]["error"]["code"] == "replica_lost"


async def events_with_a_death(
    instance: Instance, http: httpx.AsyncClient, body: dict[str, Any]
) -> list[dict[str, Any]]:
    """Everything said by a stream whose replica is killed after its tenth event."""
    events: list[dict[str, Any]] = []
    lines: list[str] = []
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line:
                lines.append(line)
            if len(lines) == 10:
                for process in replicas_of(instance, "large"):
                    process.kill()
    assert lines.pop() == "data: [DONE]"
    events = [orjson.loads(line.removeprefix("data: ")) for line in lines]
    return events


async def test_haproxy_is_back_before_its_callers_stop_connecting(
    instance: Instance, http: httpx.AsyncClient
) -> None:
    # Given a caller with the SDK's own retries, whose request is under way
    async with openai.AsyncOpenAI(base_url=f"{instance.address}/v1", api_key="none") as sdk:
        body = {"model": "auto", "max_tokens": TOKENS, "messages": a_long_body()["messages"]}
        create: Any = sdk.chat.completions.create
        asked = asyncio.create_task(create(**body))
        await asyncio.sleep(0.5)
        # When HAProxy is killed
        for process in Faults(instance.processes, random.Random()).alive("haproxy"):
            process.kill()
        # Then that request is answered, and a new one
        assert (await asked).choices
        assert (await create(**body)).choices


async def test_a_poison_request_kills_two_replicas_and_no_more(
    instance: Instance, http: httpx.AsyncClient
) -> None:
    before = {p.pid for tier in ("small", "large") for p in replicas_of(instance, tier)}
    poison = a_body(fake={"fault": "die"})
    for request_id in ("poison-1", "poison-2", "poison-3", "poison-4"):
        answer = await http.post(
            "/v1/chat/completions", json=poison, headers={"x-request-id": request_id}
        )
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "request_quarantined"
        assert request_id in answer.json()["error"]["message"]
    after = {p.pid for tier in ("small", "large") for p in replicas_of(instance, tier)}
    assert len(before - after) == 2
    assert (await http.post("/v1/chat/completions", json=a_body())).status_code == 200
