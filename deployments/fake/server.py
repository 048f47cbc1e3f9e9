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
from typing import Any

import orjson
from ray import serve
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from deployments.adapters import Adapter, FolderLoader, UnfitAdapter, UnknownAdapter
from deployments.events import DONE, coalesced, wants_usage
from deployments.fake.engine import FakeEngine
from deployments.messages import EngineCall, Head, Load, Reply, Tail, TierFacts, Usage
from deployments.spec import FakeTiming
from deployments.work import Expired, WorkInHand, predicted_work_s, refuse_expired

_TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"


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
        self._tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        self._tokenizer.pre_tokenizer = Whitespace()
        if adapters_folder is not None:
            self._load_adapter = _multiplexed(Path(adapters_folder), max_adapters)
        time.sleep(timing.start_s)

    async def describe(self) -> TierFacts:
        timing = self._timing
        return {
            "model_id": self._model_id,
            "context_tokens": timing.context_tokens,
            "max_num_seqs": timing.max_num_seqs,
            "max_num_batched_tokens": timing.context_tokens,
            "tokenizer_json": self._tokenizer.to_str().encode(),
            "chat_template": _TEMPLATE,
            "special_tokens": {},
            "profile": {
                "prefill_base_s": timing.prefill_base_s,
                "prefill_per_token_s": timing.prefill_per_token_s,
                "step_base_s": timing.step_base_s,
                "step_per_sequence_s": timing.step_per_sequence_s,
            },
            "fingerprint": f"fake-{timing.model_dump_json()}",
            "engine": "fake",
        }

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
        body = _whole(call, self._envelope(call, ""), prompt_tokens, output_tokens)
        usage: Usage = {"prompt_tokens": prompt_tokens, "completion_tokens": output_tokens}
        return {"status": 200, "body": body, "usage": usage, "load": await self.load()}

    async def stream(self, call: EngineCall) -> AsyncIterator[Head | bytes | Tail | Reply]:
        faulty_from = _fake(call).get("after_tokens", 0)
        refusal = await self._unserved(call) or (None if faulty_from else await self._fault(call))
        if refusal:
            yield refusal
            return
        prompt_tokens, output_tokens = self._lengths(call)
        has_begun = False
        events = self._events(call, prompt_tokens, output_tokens)
        async with aclosing(coalesced(events)) as batches:
            num_said = 0
            async for batch in batches:
                data = b"".join(batch)
                if has_begun:
                    yield data
                else:
                    has_begun = True
                    yield {"status": 200, "data": data, "load": await self.load()}
                num_said += len(batch)
                if faulty_from and num_said >= faulty_from and (refusal := await self._fault(call)):
                    yield refusal
                    return
        usage: Usage = {"prompt_tokens": prompt_tokens, "completion_tokens": output_tokens}
        yield {"data": DONE.encode(), "usage": usage, "load": await self.load()}

    async def _events(
        self, call: EngineCall, prompt_tokens: int, output_tokens: int
    ) -> AsyncGenerator[bytes, None]:
        envelope, said = self._envelope(call, ".chunk"), _num_said(call)
        async with aclosing(self._tokens(call, prompt_tokens, output_tokens)) as tokens:
            async for index in tokens:
                finish = "length" if index == output_tokens - 1 else None
                yield _chunk(call, envelope, _word(said + index), finish)
        if wants_usage(call["body"]):
            yield _usage_chunk(envelope, prompt_tokens, output_tokens)

    async def _tokens(
        self, call: EngineCall, prompt_tokens: int, output_tokens: int
    ) -> AsyncGenerator[int, None]:
        key = object()
        self._in_hand.add(key, predicted_work_s(call), time.monotonic())
        try:
            async with aclosing(self._engine.generate(prompt_tokens, output_tokens)) as tokens:
                async for index in tokens:
                    yield index
        finally:
            self._in_hand.remove(key, time.monotonic())

    def _envelope(self, call: EngineCall, suffix: str) -> dict[str, Any]:
        """The outer fields of OpenAI's format; the fingerprint names the replica that answered."""
        is_chat = call["endpoint"] == "chat"
        kind = f"chat.completion{suffix}" if is_chat else "text_completion"
        prefix = "chatcmpl" if is_chat else "cmpl"
        return {
            "id": f"{prefix}-{call['request_id']}", "object": kind, "created": int(time.time()),
            "model": call["body"].get("model", self._model_id), "system_fingerprint": self._replica,
        }  # fmt: skip

    def _lengths(self, call: EngineCall) -> tuple[int, int]:
        body = call["body"]
        text = body.get("prompt") or " ".join(
            str(message.get("content", "")) for message in _messages(body)
        )
        prompt_tokens = len(self._tokenizer.encode(str(text)).ids)
        asked = _fake(call).get("output_tokens")
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        output_tokens = int(asked or self._timing.output_tokens) - _num_said(call)
        if isinstance(limit, int):
            output_tokens = limit if body.get("ignore_eos") else min(limit, output_tokens)
        return prompt_tokens, max(1, output_tokens)

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
        fault = _fake(call).get("fault")
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


def _fake(call: EngineCall) -> dict[str, Any]:
    fake = call["body"].get("fake")
    return fake if isinstance(fake, dict) else {}


def _num_said(call: EngineCall) -> int:
    """Words of the reply that the call already holds."""
    body = call["body"]
    if not body.get("continue_final_message"):
        return 0
    return len(str(_messages(body)[-1].get("content", "")).split())


def _word(index: int) -> str:
    """With its space in front, as tokens have it."""
    return f" word{index + 1}" if index else "word1"


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    return messages if isinstance(messages, list) else []


def _usage(prompt_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
    }


def _whole(
    call: EngineCall, envelope: dict[str, Any], prompt_tokens: int, output_tokens: int
) -> bytes:
    said = _num_said(call)
    text = "".join(_word(said + index) for index in range(output_tokens))
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
    if call["endpoint"] == "chat":
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    usage = _usage(prompt_tokens, output_tokens)
    return orjson.dumps(envelope | {"choices": [choice], "usage": usage})


def _chunk(call: EngineCall, envelope: dict[str, Any], text: str, finish: str | None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if call["endpoint"] == "chat":
        choice["delta"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    return _event(envelope | {"choices": [choice]})


def _usage_chunk(envelope: dict[str, Any], prompt_tokens: int, output_tokens: int) -> bytes:
    usage = _usage(prompt_tokens, output_tokens)
    return _event(envelope | {"choices": [], "usage": usage})


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"
