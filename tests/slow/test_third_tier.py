"""A third real engine is added to models.local.yaml while people ask: nobody is turned away.

Takes four to six minutes on two cores.
"""

import asyncio
from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import Any

import openai

from deployments.local_models import prepare
from serve_app.bench.chaos.update import deploy
from tests.e2e.conftest import local_args
from tests.serving import running, served_file

# Three engines start and speak on two cores.
_PATIENCE_S = 600.0
_EVERY_S = 1.0
_TOKENS = 8


class Callers:
    """One more of them each second, every other one streamed; knows who answered."""

    def __init__(self, sdk: openai.AsyncOpenAI) -> None:
        self._sdk = sdk
        self.num_asked = 0
        self.num_answered = 0
        self.has_answered: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def run(self, is_over: asyncio.Event) -> None:
        """Until then; and until all are answered.

        Raises:
            ExceptionGroup: with what went wrong with any of them.
        """
        async with asyncio.TaskGroup() as group:
            while not is_over.is_set():
                group.create_task(self._ask(is_streamed=self.num_asked % 2 == 1))
                self.num_asked += 1
                await asyncio.sleep(_EVERY_S)

    async def _ask(self, *, is_streamed: bool) -> None:
        request: dict[str, Any] = {
            "model": "auto:patient", "max_tokens": _TOKENS, "temperature": 0,
            "extra_body": {"ignore_eos": True},
            "messages": [{"role": "user", "content": f"What comes after {self.num_asked}?"}],
        }  # fmt: skip
        if is_streamed:
            request |= {"stream": True, "stream_options": {"include_usage": True}}
        reply = await self._sdk.chat.completions.create(**request)
        last = [chunk async for chunk in reply][-1] if is_streamed else reply
        assert last.usage.completion_tokens == _TOKENS
        self.num_answered += 1
        self.has_answered[last.model].set()


def small_tiers() -> dict[str, Any]:
    """The two of models.local.yaml, with room left for a third, and callers who have time."""
    args = local_args()
    for tier in args["llm_configs"]:
        tier["engine_kwargs"] = tier["engine_kwargs"] | {
            "gpu_memory_utilization": 0.2, "max_model_len": 512, "max_num_batched_tokens": 512,
        }  # fmt: skip
        # By default each takes a CPU of Ray's, and there are two.
        tier["placement_group_config"] = {"bundles": [{"CPU": 0.5}]}
    return args | {"slo_classes": {"patient": {"e2e_ms": _PATIENCE_S * 1000}}}


async def test_a_third_real_tier_is_added_and_no_request_fails(tmp_path: Path) -> None:
    prepare(["smollm2-135m", "smollm2-135m-awq"], print)
    with running(small_tiers(), patience_s=_PATIENCE_S) as instance:
        url = f"{instance.address}/v1"
        async with (
            asyncio.timeout(2 * _PATIENCE_S),
            openai.AsyncOpenAI(
                base_url=url, api_key="unused", max_retries=0, timeout=_PATIENCE_S
            ) as sdk,
            asyncio.TaskGroup() as group,
        ):
            # Given callers who name no tier
            callers, is_over = Callers(sdk), asyncio.Event()
            group.create_task(callers.run(is_over))
            # When a tier that is declared better is added to the file and deployed
            content = served_file(instance)
            tiers = content["applications"][0]["args"]["llm_configs"]
            third = deepcopy(tiers[0])
            third["model_loading_config"]["model_id"] = "third"
            third["routing"]["quality"]["default"] = 3.0
            tiers.append(third)
            await deploy(instance.processes(), content, tmp_path)
            # Then it answers in the end, and everybody was answered whole meanwhile
            await callers.has_answered["third"].wait()
            is_over.set()
    assert callers.num_answered == callers.num_asked
