"""The tier's replica: Ray Serve LLM's server with plain dicts in and out, and its load told."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import ray
from pydantic import ValidationError
from ray import serve
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest

from deployments.adapters import FolderLoader, UnfitAdapter, UnknownAdapter
from deployments.engine.facts import engine_facts, engine_fingerprint
from deployments.engine.measure import measure, store, stored
from deployments.engine.stats import EngineStats
from deployments.engine.watch import EngineWatch
from deployments.events import (
    DONE,
    as_usage,
    coalesced,
    until_failure,
    usage_of,
    wants_usage,
    with_usage,
)
from deployments.local_models import tandem_home
from deployments.messages import (
    ENGINE_DEAD,
    EngineCall,
    Head,
    Load,
    Profile,
    Reply,
    Tail,
    TierFacts,
    Usage,
)
from deployments.work import WorkInHand, predicted_work_s, refuse_expired


class TierServer(LLMServer):  # type: ignore[misc]
    """One replica of one tier over vLLM.

    Cancelling a call aborts it in the engine: vLLM stops a request when its generator is closed,
    and every generator here is closed with the one around it.
    """

    # Serve awaits an async constructor; that is how the engine is up before the replica is.
    async def __init__(  # type: ignore[misc]
        self, llm_config: Any, adapters_folder: str | None = None, **kwargs: Any
    ) -> None:
        began_s = time.monotonic()
        if adapters_folder is not None:
            kwargs["model_downloader"] = partial(FolderLoader, Path(adapters_folder))
        await super().__init__(llm_config, **kwargs)
        self._replica = serve.get_replica_context().replica_id.unique_id
        scheduler = self._client.vllm_config.scheduler_config
        self._has_priorities = scheduler.policy == "priority"
        self._in_hand = WorkInHand(scheduler.max_num_seqs)
        self._measuring = asyncio.Lock()
        self._facts = self._known_facts()
        self._facts["start_s"] = time.monotonic() - began_s
        watch = EngineWatch(
            lambda: bool(self._client.errored),
            EngineStats.steps,
            lambda: int(self._client.get_num_unfinished_requests()),
        )
        self._watching = asyncio.create_task(watch.run())

    async def describe(self) -> TierFacts:
        return self._facts

    async def measure(self) -> TierFacts:
        """Measures the replica's speed unless it is known, and stores it for the next start.

        Not done while it starts: tiers that share a machine would measure each other's start.
        """
        async with self._measuring:
            profile = self._facts["profile"]
            if profile is None:
                profile = await self._measured()
                store(self._profile_path, profile)
            self._facts["profile"] = profile
        return self._facts

    async def load(self) -> Load:
        """The replica's load now; waiting and running as of the engine's latest step."""
        stats = EngineStats.latest
        unfinished = int(self._client.get_num_unfinished_requests())
        if stats is None:
            return self._load(unfinished, 0, 0.0)
        # The scheduler's numbers are a step old; what was handed in since then waits. `running` is
        # never corrected by ours: it is how a test sees that an abort reached the engine.
        waiting = max(stats.waiting, unfinished - stats.running)
        return self._load(stats.running, waiting, stats.kv_usage)

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
            return await self._refusal(err)
        if hasattr(response, "error"):
            return await self._failure(response.error.model_dump())
        usage = as_usage(response.usage.model_dump())
        return await self._reply(HTTPStatus.OK, response.model_dump_json(), usage)

    async def stream(self, call: EngineCall) -> AsyncIterator[Head | bytes | Tail | Reply]:
        """Head, events, tail; or a Reply, also in the middle, when the engine refuses or fails."""
        try:
            request = self._request(call, is_streamed=True)
        except Exception as err:
            yield await self._refusal(err)
            return
        is_usage_wanted = wants_usage(call["body"])
        usage: Usage | None = None
        has_begun = False
        async with aclosing(coalesced(self._generate(call, request))) as batches:
            try:
                async for batch in batches:
                    if not isinstance(batch[0], str):
                        yield await self._failure(batch[0].error.model_dump())
                        return
                    usage = usage_of(batch[-1]) or usage_of(batch[-2 % len(batch)]) or usage
                    events, failure = until_failure(batch)
                    data = _joined(events, is_usage_wanted=is_usage_wanted)
                    if data and not has_begun:
                        has_begun = True
                        yield {"status": 200, "data": data, "load": await self.load()}
                    elif data:
                        yield data
                    if failure is not None:
                        yield await self._failure(failure)
                        return
            except Exception as err:
                yield await self._refusal(err)
                return
        yield {"data": DONE.encode(), "usage": usage, "load": await self.load()}

    @property
    def _client(self) -> Any:
        """vLLM's engine client; Ray keeps it private, everything called on it is vLLM's API."""
        return self.engine._engine_client

    def _request(self, call: EngineCall, *, is_streamed: bool) -> Any:
        refuse_expired(call)
        body = call["body"] | {"stream": is_streamed, "request_id": call["request_id"]}
        if self._has_priorities:
            body["priority"] = call["priority"]
        if is_streamed:
            body = with_usage(body)
        schema = ChatCompletionRequest if call["endpoint"] == "chat" else CompletionRequest
        return schema.model_validate(body)

    async def _generate(self, call: EngineCall, request: Any) -> AsyncGenerator[Any, None]:
        method = self.engine.chat if call["endpoint"] == "chat" else self.engine.completions
        # Not by the request's id, which callers choose and may repeat.
        key = object()
        self._in_hand.add(key, predicted_work_s(call), time.monotonic())
        try:
            await self._load_adapter()
            async with aclosing(method(request, _raw_request_info(call))) as responses:
                async for response in responses:
                    yield response
        finally:
            self._in_hand.remove(key, time.monotonic())

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

    async def _refusal(self, err: Exception) -> Reply:
        """vLLM's and pydantic's errors with the status they stand for."""
        if self._client.errored:
            return await self._failure({})
        if isinstance(err, ValidationError):
            first = err.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            return await self._error(400, f"{field}: {first['msg']}", field)
        status = getattr(err, "http_status", None) or getattr(err, "status_code", None)
        if status is None and type(err).__module__.startswith("vllm.exceptions"):
            status = 400
        if status is None:
            raise err
        return await self._error(int(status), str(err), None)

    async def _failure(self, error: dict[str, Any]) -> Reply:
        """The engine's own error; or that it is gone, whatever it said last."""
        if self._client.errored:
            message = "The engine died while it had this request."
            error = {
                "message": message, "type": "server_error", "code": ENGINE_DEAD,
                "actor_id": ray.get_runtime_context().get_actor_id(),
            }  # fmt: skip
            return await self._reply(503, orjson.dumps({"error": error}).decode(), None)
        status = int(error.get("code") or 500)
        return await self._reply(status, orjson.dumps({"error": error}).decode(), None)

    async def _error(self, status: int, message: str, param: str | None) -> Reply:
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": message, "type": kind, "param": param, "code": status}
        return await self._reply(status, orjson.dumps({"error": error}).decode(), None)

    async def _reply(self, status: int, body: str, usage: Usage | None) -> Reply:
        return {"status": status, "body": body.encode(), "usage": usage, "load": await self.load()}

    def _load(self, running: int, waiting: int, kv_usage: float) -> Load:
        return {
            "replica": self._replica,
            "running": running,
            "waiting": waiting,
            "queued_tokens": int(self._client.get_num_queued_tokens()),
            "kv_usage": kv_usage,
            "work_s": self._in_hand.left_s(time.monotonic()),
            "prefix_hit_rate": EngineStats.prefix_hit_rate(),
        }

    def _known_facts(self) -> TierFacts:
        self._fingerprint = engine_fingerprint(self._llm_config, self._client.vllm_config)
        profile = stored(self._profile_path)
        return engine_facts(self._llm_config, self._client, self._fingerprint, profile)

    @property
    def _profile_path(self) -> Path:
        return tandem_home() / "profiles" / f"{self._fingerprint}.json"

    async def _measured(self) -> Profile:
        config = self._client.vllm_config
        return await measure(
            self._probe,
            context_tokens=config.model_config.max_model_len,
            max_num_seqs=config.scheduler_config.max_num_seqs,
        )

    async def _probe(self, prompt_tokens: int, output_tokens: int) -> None:
        """One reply of exactly these lengths, of random tokens so that no prefix is cached."""
        ids = [random.randrange(100, 1000) for _ in range(prompt_tokens)]
        request = CompletionRequest(
            model=self._llm_config.model_id,
            prompt=ids,
            max_tokens=output_tokens,
            min_tokens=output_tokens,
            ignore_eos=True,
            temperature=0.0,
        )
        async with aclosing(self.engine.completions(request)) as responses:
            await anext(responses)


def _raw_request_info(call: EngineCall) -> Any:
    """The trace headers as Ray's engine takes them; None for an untraced request."""
    if not call["headers"]:
        return None
    # Imported here: Ray has no public name for it, and only traced requests need it.
    from ray.llm._internal.serve.core.protocol import RawRequestInfo

    return RawRequestInfo(headers=call["headers"])


def _joined(batch: list[str], *, is_usage_wanted: bool) -> bytes:
    """Events as one write, without the end mark and without counts that nobody asked for."""
    events = (
        event for event in batch if event != DONE and (is_usage_wanted or usage_of(event) is None)
    )
    return "".join(events).encode()
