"""Tiers come and go with those who want them, and a third one is added: real Ray, HAProxy, HTTP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from serve_app.bench.chaos.update import deploy
from serve_app.commands.local.instance import Instance
from tests.integration.conftest import a_body, a_tier
from tests.serving import running, served_file

_PATIENCE_S = 120.0
_CALLERS = 24
SMALL = {"step_base_s": 0.002, "output_tokens": 40}
LARGE = {"step_base_s": 0.02, "output_tokens": 40, "max_num_seqs": 4}
BOUNDS = {
    "min_replicas": 0, "initial_replicas": 1, "max_replicas": 4,
    "upscale_delay_s": 0.0, "downscale_delay_s": 1.0, "downscale_to_zero_delay_s": 6.0,
}  # fmt: skip
ARGS = {
    "llm_configs": [
        a_tier("small", 1.0, SMALL),
        a_tier("large", 2.0, LARGE) | {"deployment_config": {"autoscaling_config": BOUNDS}},
    ],
    "scaling": {"memory_s": 1.0, "cold_start_s": 1.0},
}


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with running(ARGS) as served:
        yield served


@pytest.fixture
async def http(instance: Instance) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=instance.address, timeout=90.0) as client:
        yield client


class Callers:
    """So many who ask again as soon as they are answered."""

    def __init__(self, http: httpx.AsyncClient, count: int, model: str = "auto") -> None:
        self._http, self._count, self._model = http, count, model
        self.failures: list[str] = []
        self.answers: list[tuple[str, str]] = []

    @property
    def models(self) -> list[str]:
        """Who answered, in order."""
        return [model for model, _ in self.answers]

    async def until(self, is_reached: Callable[[], Awaitable[bool]]) -> None:
        """Asks until then."""
        is_over = asyncio.Event()
        async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as callers:
            for _ in range(self._count):
                callers.create_task(self.ask_until(is_over))
            while not await is_reached():
                await self.ask()
            is_over.set()

    async def ask_until(self, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            await self.ask()

    async def ask(self) -> None:
        answer = await self._http.post("/v1/chat/completions", json=a_body(model=self._model))
        if answer.status_code != 200:
            self.failures.append(answer.text)
            return
        said = answer.json()
        self.answers.append((said["model"], said["system_fingerprint"]))

    async def four_replicas_answer(self) -> bool:
        lately = self.answers[-4 * self._count :]
        return len({replica for model, replica in lately if model == "large"}) == 4

    async def large_answers(self) -> bool:
        return self.models[-1:] == ["large"]


def replicas(instance: Instance, tier: str) -> set[int]:
    """Process ids of the tier's replicas."""
    names = {p.pid: p.as_dict(["cmdline"])["cmdline"] for p in instance.processes()}
    title = f"ray::ServeReplica:tandem:tier-{tier}"
    return {pid for pid, name in names.items() if title in " ".join(name or [])}


async def has_gone(instance: Instance, http: httpx.AsyncClient) -> bool:
    """Whether the large tier has no replica, and the router knows."""
    card = (await http.get("/v1/models/large")).json()
    return card["status"] == "starting" and not replicas(instance, "large")


async def test_a_tier_grows_sleeps_and_wakes_and_no_request_fails(
    instance: Instance, http: httpx.AsyncClient
) -> None:
    # Given a large tier of one replica with four slots, when two dozen callers want it
    crowd = Callers(http, _CALLERS)
    await crowd.until(crowd.four_replicas_answer)
    assert len(replicas(instance, "large")) == 4
    # Then it grows to its bound; and when only those are left who name the small one, it sleeps
    few = Callers(http, 1, model="small")
    await few.until(partial(has_gone, instance, http))
    # When somebody wants the best, the small one answers meanwhile; who names the large one waits
    meanwhile, pinned = Callers(http, 1), Callers(http, 1, model="large")
    await meanwhile.ask()
    await pinned.ask()
    # Then it is back, for those who name no tier as well
    await meanwhile.until(meanwhile.large_answers)
    assert meanwhile.models[0] == "small"
    assert pinned.models == ["large"]
    assert crowd.failures + few.failures + meanwhile.failures + pinned.failures == []


async def test_a_third_tier_is_added_and_no_request_fails(
    instance: Instance, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    # Given callers who name no tier
    before = replicas(instance, "small")
    callers, is_over = Callers(http, 2), asyncio.Event()
    load = [asyncio.create_task(callers.ask_until(is_over)) for _ in range(2)]
    # When a better tier is deployed
    content = served_file(instance)
    args = content["applications"][0]["args"]
    args["llm_configs"].append(a_tier("huge", 3.0, LARGE | {"max_num_seqs": 32}))
    await deploy(instance.processes(), content, tmp_path)
    async with asyncio.timeout(_PATIENCE_S):
        while "huge" not in callers.models[-2:]:
            await callers.ask()
    is_over.set()
    await asyncio.gather(*load)
    # Then it answers in the end, everybody was answered meanwhile, and nothing else began anew
    assert callers.failures == []
    assert replicas(instance, "small") == before
