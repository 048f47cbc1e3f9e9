"""A running service gets another configuration, and a bad one: real Ray, HAProxy, HTTP."""

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import httpx
import pytest

from serve_app.bench.chaos import scenario
from serve_app.bench.chaos.callers import Callers
from serve_app.bench.chaos.update import UpdateRefused, deploy
from serve_app.bench.client import Address
from serve_app.commands.local.instance import Instance
from tests.integration.conftest import a_body
from tests.serving import running, served_file

ARGS = scenario.fake_tiers(Address("127.0.0.1", 0))["applications"][0]["args"]


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with running(ARGS) as served:
        yield served


async def test_no_request_fails_while_tiers_and_routers_are_replaced_and_scaled(
    instance: Instance, tmp_path: Path
) -> None:
    # Given a steady load, half of it streamed
    callers = Callers(instance.address, 15.0, scenario.asked)
    load = asyncio.create_task(callers.run())
    # When an engine is replaced, a replica taken away, and given back with other routers
    versions = scenario.updates(served_file(instance))
    for _ in range(3):
        _, content = next(versions)
        await deploy(instance.processes(), content, tmp_path)
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    # Then every reply is right, on its first connection
    assert [answer for answer in callers.answers if answer.verdict != "right"] == []
    assert {answer.num_connections for answer in callers.answers} == {1}
    async with httpx.AsyncClient(base_url=instance.address) as client:
        models = (await client.get("/v1/models")).json()["data"]
    assert "auto:class-3" in {model["id"] for model in models}


async def test_a_bad_file_is_refused_and_the_running_version_goes_on(
    instance: Instance, tmp_path: Path
) -> None:
    bad = deepcopy(served_file(instance))
    bad["applications"][0]["args"]["resilience"] = {"fallbacks": [{"small": ["huge"]}]}
    with pytest.raises(UpdateRefused, match="huge"):
        await deploy(instance.processes(), bad, tmp_path)
    async with httpx.AsyncClient(base_url=instance.address, timeout=30.0) as client:
        answer = await client.post("/v1/chat/completions", json=a_body())
    assert answer.status_code == 200
