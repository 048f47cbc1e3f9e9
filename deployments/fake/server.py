"""A tier without a model: the surface of TierServer over a timed engine, for tests and demos.

A request body may carry `fake: {"fault": "fail" | "hang" | "die", "output_tokens": N}`; with
`"after_tokens": N` a stream says so many first.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import orjson
from ray import serve

from deployments.adapters import Adapter, FolderLoader, UnfitAdapter, UnknownAdapter
from deployments.events import DONE, coalesced, wants_usage
from deployments.fake.asked import fault_of, faulty_from, lengths, num_said
from deployments.fake.engine import FakeEngine
from deployments.fake.facts import fake_facts, fake_tokenizer
from deployments.fake.replies import chunk, envelope, usage_chunk, whole_reply, word
from deployments.messages import EngineCall, Head, Load, Reply, Tail, TierFacts, Usage
from deployments.spec import FakeTiming
from deployments.work import Expired, WorkInHand, held, refuse_expired


class FakeServer:
    """Answers `word1 word2 word3 ...`, as slowly as its timing says.

    Given the beginning of a reply (`continue_final_message`), it goes on from there.
    """

    def __init__(
        self, model_id: str, timing: FakeTiming, adapters_folder: str | None = None,
        max_adapters: int = 16,
    ) -> None:  # fmt: skip
        self._model_id = model_id
        self._timing = timing
        self._engine = FakeEngine(timing, random.Random(timing.seed))
        self._in_hand = WorkInHand(timing.max_num_seqs)
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._tokenizer = fake_tokenizer()
        if adapters_folder is not None:
            self._load_adapter = _multiplexed(Path(adapters_folder), max_adapters)
        time.sleep(timing.start_s)

    async def describe(self) -> TierFacts:
        return fake_facts(self._model_id, self._timing, self._tokenizer)

    async def measure(self) -> TierFacts:
        return await self.describe()

    async def load(self) -> Load:
        engine = self._engine
        return {
            "replica": self._replica,
            "running": engine.num_running,
            "waiting": engine.num_waiting,
            "queued_tokens": engine.queued_tokens,
            "kv_usage": engine.num_running / self._timing.max_num_seqs,
            "work_s": self._in_hand.left_s(time.monotonic()),
        }

    async def record_routing_stats(self) -> dict[str, float]:
        return self._in_hand.broadcast(time.monotonic())

    async def check_health(self) -> None:
        """Always well; a fake that dies takes its process along."""

    async def complete(self, call: EngineCall) -> Reply:
        refusal = await self._unserved(call) or await self._fault(call)
        if refusal:
            return refusal
        prompt_tokens, output_tokens = self._lengths(call)
        async with aclosing(self._tokens(call, prompt_tokens, output_tokens)) as tokens:
            async for _ in tokens:
                pass
        body = whole_reply(call, self._model_id, self._replica, prompt_tokens, output_tokens)
        usage: Usage = {"prompt_tokens": prompt_tokens, "completion_tokens": output_tokens}
        return {"status": 200, "body": body, "usage": usage, "load": await self.load()}

    async def stream(self, call: EngineCall) -> AsyncIterator[Head | bytes | Tail | Reply]:
        fault_at = faulty_from(call)
        refusal = await self._unserved(call) or (None if fault_at else await self._fault(call))
        if refusal:
            yield refusal
            return
        prompt_tokens, output_tokens = self._lengths(call)
        has_begun = False
        events = self._events(call, prompt_tokens, output_tokens)
        async with aclosing(coalesced(events)) as batches:
            num_sent = 0
            async for batch in batches:
                data = b"".join(batch)
                if has_begun:
                    yield data
                else:
                    has_begun = True
                    yield {"status": 200, "data": data, "load": await self.load()}
                num_sent += len(batch)
                if fault_at and num_sent >= fault_at and (refusal := await self._fault(call)):
                    yield refusal
                    return
        usage: Usage = {"prompt_tokens": prompt_tokens, "completion_tokens": output_tokens}
        yield {"data": DONE.encode(), "usage": usage, "load": await self.load()}

    async def _events(
        self, call: EngineCall, prompt_tokens: int, output_tokens: int
    ) -> AsyncGenerator[bytes, None]:
        outer, said = envelope(call, self._model_id, self._replica), num_said(call)
        async with aclosing(self._tokens(call, prompt_tokens, output_tokens)) as tokens:
            async for index in tokens:
                finish = "length" if index == output_tokens - 1 else None
                yield chunk(call, outer, word(said + index), finish)
        if wants_usage(call["body"]):
            yield usage_chunk(outer, prompt_tokens, output_tokens)

    async def _tokens(
        self, call: EngineCall, prompt_tokens: int, output_tokens: int
    ) -> AsyncGenerator[int, None]:
        with held(self._in_hand, call):
            async with aclosing(self._engine.generate(prompt_tokens, output_tokens)) as tokens:
                async for index in tokens:
                    yield index

    def _lengths(self, call: EngineCall) -> tuple[int, int]:
        return lengths(call, self._tokenizer, self._timing.output_tokens)

    async def _unserved(self, call: EngineCall) -> Reply | None:
        try:
            refuse_expired(call)
            adapter = serve.get_multiplexed_model_id()
            if adapter:
                await self._load_adapter(adapter)
        except (Expired, UnknownAdapter, UnfitAdapter) as err:
            return await self._refusal(err.http_status, str(err))
        return None

    async def _fault(self, call: EngineCall) -> Reply | None:
        fault = fault_of(call)
        if fault == "die":
            os._exit(1)
        if fault == "hang":
            await asyncio.Event().wait()
        if fault != "fail":
            return None
        return await self._refusal(500, "The fake was asked to fail.")

    async def _refusal(self, status: int, message: str) -> Reply:
        error = {"message": message, "type": "server_error", "code": status}
        body = orjson.dumps({"error": error})
        return {"status": status, "body": body, "usage": None, "load": await self.load()}


def _multiplexed(folder: Path, most: int) -> Callable[[str], Awaitable[Adapter]]:
    """The loader behind Serve's multiplexing, which forgets the least used and tells routers."""
    loader = FolderLoader(folder)

    async def load(model_id: str) -> Adapter:
        return await loader.load_model_from_config(model_id, None)

    wrapped: Callable[[str], Awaitable[Adapter]] = serve.multiplexed(
        max_num_models_per_replica=most
    )(load)
    return wrapped
