"""What Tandem adds to a vLLM engine: one token, the first of a stream, and full batches."""

import copy
import random
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from deployments.spec import TierSpec
from serve_app.bench.client import Address, post
from serve_app.bench.load import Burst, LoadFailed, one_by_one, together
from serve_app.bench.overhead.measures import Measure, Samples, Target
from serve_app.bench.overhead.turns import Method, Say

T = TypeVar("T")

_PATH = "/v1/chat/completions"
# With the chat template these come to some 100 tokens.
_WORDS_PER_PROMPT = 75
WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part", "place",
    "case", "week", "company", "system", "program", "question", "work", "number", "night", "point",
    "home", "water", "room", "mother", "area", "money", "story", "fact", "month", "lot", "right",
)  # fmt: skip
_NUM_PAIRS = 40
_NUM_BURSTS = 3
_STREAMS = 16
_TOKENS_PER_STREAM = 64
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s?(\d+)')

MEASURES = (
    Measure("one_token_ms", "1 token, 100-token prompt, c=1", "ms",
            (Target("ratio", "at most", 1.10),)),
    Measure("ttft_ms", "first token of a stream, c=1", "ms", (Target("ratio", "at most", 1.10),)),
    Measure("tokens_per_s", f"{_STREAMS} streams of {_TOKENS_PER_STREAM} tokens", "tok/s",
            (Target("ratio", "at least", 0.95),)),
)  # fmt: skip


def method(models: Mapping[Address, str]) -> Method:
    """Measures an engine.

    Args:
        models: the model to ask each server for.
    """

    async def take(address: Address, say: Say) -> Samples:
        return await _take(address, models[address], say)

    return Method(MEASURES, take, num_steps=3)


def cheapest(tiers: tuple[TierSpec, ...]) -> TierSpec:
    """The small tier of a file."""
    return min(tiers, key=lambda tier: tier.routing.usd_per_hour)


def one_tier(content: Mapping[str, Any], tier: TierSpec, address: Address) -> dict[str, Any]:
    """The Serve file with only this tier, listening at `address`."""
    derived = copy.deepcopy(dict(content))
    derived["http_options"] = {"host": address.host, "port": address.port}
    for application in derived["applications"]:
        application["args"]["llm_configs"] = [
            config
            for config in application["args"]["llm_configs"]
            if config["model_loading_config"]["model_id"] == tier.model_id
        ]
    return derived


def prompt(seed: int) -> str:
    """Words in an order that no other seed has, so that no cached prefix helps."""
    return " ".join(random.Random(seed).choices(WORDS, k=_WORDS_PER_PROMPT))


async def _take(address: Address, model: str, say: Say) -> Samples:
    def ask(seed: int, max_tokens: int, **more: Any) -> bytes:
        message = {"role": "user", "content": prompt(seed)}
        body = {"model": model, "messages": [message], "max_tokens": max_tokens, **more}
        return post(address, _PATH, body | {"temperature": 0.0, "ignore_eos": True})

    def burst(seed: int, max_tokens: int) -> list[bytes]:
        usage = {"include_usage": True}
        return [
            ask(seed + i, max_tokens, stream=True, stream_options=usage) for i in range(_STREAMS)
        ]

    say("warming up")
    await one_by_one(address, [ask(1, 1), ask(2, 4, stream=True), ask(3, 1)])
    await together(address, burst(1_000, 16))
    say(f"{_NUM_PAIRS} single tokens and {_NUM_PAIRS} first tokens, by turns")
    replies = await one_by_one(address, [
        request
        for seed in range(10_000, 10_000 + 2 * _NUM_PAIRS, 2)
        for request in (ask(seed, 1), ask(seed + 1, 2, stream=True))
    ])  # fmt: skip
    say(f"{_NUM_BURSTS} times {_STREAMS} streams")
    bursts = [
        await together(address, burst(seed, _TOKENS_PER_STREAM))
        for seed in range(20_000, 20_000 + 100 * _NUM_BURSTS, 100)
    ]
    return {
        "one_token_ms": [reply.e2e_s * 1e3 for reply in replies[::2]],
        "ttft_ms": [_required(reply.first_token_s) * 1e3 for reply in replies[1::2]],
        "tokens_per_s": [_tokens(burst) / burst.elapsed_s for burst in bursts],
    }


def _tokens(burst: Burst) -> int:
    """Tokens as the engine counted them, at the end of each stream."""
    counts = [_COMPLETION_TOKENS.findall(reply.body) for reply in burst.replies]
    return sum(int(_required(found[-1] if found else None)) for found in counts)


def _required(value: T | None) -> T:
    if value is None:
        raise LoadFailed("a stream ended without a token, or without its count of tokens")
    return value
