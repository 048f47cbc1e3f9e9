"""The real engine dies under a stream: vLLM on CPU, one tier of two replicas."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy

import httpx
import openai
import psutil
import pytest
from openai.types import CompletionUsage

from deployments.local_models import prepare
from serve_app.bench.chaos.faults import Faults, Kind
from serve_app.commands.local.instance import Instance
from tests.e2e.conftest import local_args
from tests.serving import running

QUESTION = "List the planets of the solar system, and say one sentence about each of them."
TOKENS = 64
PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    prepare(["smollm2-135m"], print)
    args = deepcopy(local_args())
    args["llm_configs"] = args["llm_configs"][:1]
    args["llm_configs"][0]["deployment_config"]["num_replicas"] = 2
    with running(args, patience_s=600.0) as served:
        yield served


@pytest.fixture
async def sdk(instance: Instance) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{instance.address}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as client:
        await both_replicas_run(instance)
        yield client


async def both_replicas_run(instance: Instance) -> None:
    async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(base_url=instance.address) as http:
        while True:
            tiers = (await http.get("/v1/router/state")).json().get("tiers", {})
            if tiers and all(tier["replicas"] == 2 for tier in tiers.values()):
                return
            await asyncio.sleep(1.0)


async def until_two_engines_run(faults: Faults) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if len(faults.alive("engine")) == 2:
                return
            await asyncio.sleep(1.0)


async def said(
    sdk: openai.AsyncOpenAI, break_at: int | None = None, break_it: object = None
) -> tuple[str, CompletionUsage]:
    """The streamed text and its token counts; `break_it()` is called after so many pieces."""
    stream = await sdk.chat.completions.create(
        model="auto", temperature=0, max_tokens=TOKENS, stream=True,
        stream_options={"include_usage": True},
        messages=[{"role": "user", "content": QUESTION}],
    )  # fmt: skip
    pieces: list[str] = []
    usage: CompletionUsage | None = None
    async for chunk in stream:
        usage = chunk.usage or usage
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        if break_at is not None and len(pieces) >= break_at and callable(break_it):
            await asyncio.to_thread(break_it)
            break_at = None
    assert usage is not None
    return "".join(pieces), usage


def busiest(processes: list[psutil.Process]) -> psutil.Process:
    """The one that works, with its children, within the next moments."""

    def cpu_s(process: psutil.Process) -> float:
        family = [process, *process.children(recursive=True)]
        return sum(sum(member.cpu_times()[:2]) for member in family)

    before = {process.pid: cpu_s(process) for process in processes}
    psutil.wait_procs(processes, timeout=0.3)
    return max(processes, key=lambda process: cpu_s(process) - before[process.pid])


@pytest.mark.parametrize("kind", ["engine", "replica"])
async def test_a_stream_whose_engine_dies_goes_on_token_by_token(
    instance: Instance, sdk: openai.AsyncOpenAI, kind: Kind
) -> None:
    # Given what the engine says when it is left alone
    expected, expected_usage = await said(sdk)
    faults = Faults(instance.processes, random.Random())
    # When the one that speaks is killed in the middle of its reply
    text, usage = await said(sdk, 20, lambda: busiest(faults.alive(kind)).kill())
    # Then the stream goes on with the same tokens, counted once
    assert text == expected
    assert usage == expected_usage
    # And what died is replaced, also where only the engine died and its replica lived
    await until_two_engines_run(faults)
