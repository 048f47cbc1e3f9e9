"""The tier's replica: Ray Serve LLM's server with plain dicts in and out, and its load told."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import ray
from ray import serve
from ray.serve.llm.deployment import LLMServer

from deployments.adapters import FolderLoader, UnfitAdapter, UnknownAdapter
from deployments.engine.facts import engine_facts
from deployments.engine.refusals import engine_death, error_of
from deployments.engine.requests import engine_request, probe_request, trace_of
from deployments.engine.speed.measure import measure
from deployments.engine.speed.profiles import store, stored
from deployments.engine.start.bounded_structures import BoundedStructuresEngine
from deployments.engine.start.serve_log import kept_log
from deployments.engine.stats import EngineStats, engine_load
from deployments.engine.watch import EngineWatch
from deployments.events import DONE, as_usage, coalesced, sifted, wants_usage
from deployments.messages import EngineCall, Head, Load, Profile, Reply, Tail, TierFacts, Usage
from deployments.work import WorkInHand, held, refuse_expired


class TierServer(LLMServer):  # type: ignore[misc]
    """One replica of one tier over vLLM.

    Cancelling a call aborts it in the engine: vLLM stops a request when its generator is closed,
    and every generator here is closed with the one around it.
    """

    _default_engine_cls = BoundedStructuresEngine

    # Serve awaits an async constructor; that is how the engine is up before the replica is.
    async def __init__(  # type: ignore[misc]
        self, llm_config: Any, adapters_folder: str | None = None, **kwargs: Any
    ) -> None:
        began_s = time.monotonic()
        if adapters_folder is not None:
            kwargs["model_downloader"] = partial(FolderLoader, Path(adapters_folder))
        with kept_log():
            await super().__init__(llm_config, **kwargs)
        self._replica = serve.get_replica_context().replica_id.unique_id
        scheduler = self._client.vllm_config.scheduler_config
        self._has_priorities = scheduler.policy == "priority"
        self._in_hand = WorkInHand(scheduler.max_num_seqs)
        self._measuring = asyncio.Lock()
        self._facts = engine_facts(self._llm_config, self._client)
        self._facts["start_s"] = time.monotonic() - began_s
        watch = EngineWatch(
            lambda: bool(self._client.errored),
            EngineStats.steps,
            lambda: int(self._client.get_num_unfinished_requests()),
        )
        self._watching = asyncio.create_task(watch.run())

    async def describe(self) -> TierFacts:
        if self._facts["profile"] is None:
            # Another replica on this machine may have been measured since.
            self._facts["profile"] = stored(self._facts["fingerprint"])
        return self._facts

    async def measure(self) -> TierFacts:
        """Measures the replica's speed unless it is known.

        Kept for later starts unless callers were served meanwhile, who made it look slower. Not
        done while it starts: tiers that share a machine would measure each other's start.
        """
        async with self._measuring:
            if (await self.describe())["profile"] is None:
                calls = self._in_hand.num_added if not self._in_hand else None
                profile = self._facts["profile"] = await self._measured()
                if calls == self._in_hand.num_added:
                    store(self._facts["fingerprint"], profile)
        return self._facts

    async def load(self) -> Load:
        return engine_load(self._replica, self._client, self._in_hand)

    async def record_routing_stats(self) -> dict[str, Any]:
        """What Serve tells every router of this replica; roughly, because each change is told."""
        stats: dict[str, Any] = await super().record_routing_stats()
        return stats | self._in_hand.broadcast(time.monotonic())

    async def complete(self, call: EngineCall) -> Reply:
        """One whole reply, or the engine's refusal with its status."""
        try:
            request = self._request(call, is_streamed=False)
            async with aclosing(self._generate(call, request)) as responses:
                response = await anext(responses)
        except Exception as err:
            return await self._refused(err)
        if hasattr(response, "error"):
            return await self._failed(response.error.model_dump())
        usage = as_usage(response.usage.model_dump())
        return await self._reply(200, response.model_dump_json().encode(), usage)

    async def stream(self, call: EngineCall) -> AsyncIterator[Head | bytes | Tail | Reply]:
        """Head, events, tail; or a Reply, also in the middle, when the engine refuses or fails."""
        try:
            request = self._request(call, is_streamed=True)
        except Exception as err:
            yield await self._refused(err)
            return
        is_usage_wanted = wants_usage(call["body"])
        usage: Usage | None = None
        has_begun = False
        async with aclosing(coalesced(self._generate(call, request))) as batches:
            try:
                async for batch in batches:
                    if not isinstance(batch[0], str):
                        yield await self._failed(batch[0].error.model_dump())
                        return
                    data, counts, failure = sifted(batch, is_usage_wanted=is_usage_wanted)
                    usage = counts or usage
                    if data and not has_begun:
                        has_begun = True
                        yield {"status": 200, "data": data, "load": await self.load()}
                    elif data:
                        yield data
                    if failure is not None:
                        yield await self._failed(failure)
                        return
            except Exception as err:
                yield await self._refused(err)
                return
        yield {"data": DONE.encode(), "usage": usage, "load": await self.load()}

    @property
    def _client(self) -> Any:
        """vLLM's engine client; Ray keeps it private, everything called on it is vLLM's API."""
        return self.engine._engine_client

    def _request(self, call: EngineCall, *, is_streamed: bool) -> Any:
        refuse_expired(call)
        return engine_request(call, is_streamed=is_streamed, has_priorities=self._has_priorities)

    async def _generate(self, call: EngineCall, request: Any) -> AsyncGenerator[Any, None]:
        method = self.engine.chat if call["endpoint"] == "chat" else self.engine.completions
        with held(self._in_hand, call):
            await self._load_adapter()
            async with aclosing(method(request, trace_of(call))) as responses:
                async for response in responses:
                    yield response

    async def _load_adapter(self) -> None:
        """Has the engine know the adapter that the call is for; nothing for the tier's own model.

        Raises:
            UnknownAdapter: there is none of this name. UnfitAdapter: the engine refuses it.
        """
        adapter = serve.get_multiplexed_model_id()
        if not adapter:
            return
        if self._llm_config.lora_config is None:
            raise UnknownAdapter(f"{adapter!r}: this tier has no lora_config, so no adapters.")
        try:
            await self._maybe_resolve_lora_from_multiplex()
        except (UnknownAdapter, UnfitAdapter):
            raise
        except ValueError as err:
            raise UnfitAdapter(f"The adapter {adapter!r} cannot be loaded: {err}") from err

    async def _refused(self, err: Exception) -> Reply:
        return await self._failed({} if self._client.errored else error_of(err))

    async def _failed(self, error: dict[str, Any]) -> Reply:
        """The engine's own error; or that it is gone, whatever it said last."""
        if self._client.errored:
            status, error = 503, engine_death(ray.get_runtime_context().get_actor_id())
        else:
            status = int(error.get("code") or 500)
        return await self._reply(status, orjson.dumps({"error": error}), None)

    async def _reply(self, status: int, body: bytes, usage: Usage | None) -> Reply:
        return {"status": status, "body": body, "usage": usage, "load": await self.load()}

    async def _measured(self) -> Profile:
        config = self._client.vllm_config
        return await measure(
            self._probe,
            context_tokens=config.model_config.max_model_len,
            max_num_seqs=config.scheduler_config.max_num_seqs,
        )

    async def _probe(self, prompt_tokens: int, output_tokens: int) -> None:
        request = probe_request(self._llm_config.model_id, prompt_tokens, output_tokens)
        async with aclosing(self.engine.completions(request)) as responses:
            await anext(responses)
