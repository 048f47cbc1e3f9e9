"""Forecasts of a running Tandem beside what became of them. Replies in, figures out.

Every request names its tier and has an exact length, so that what is judged is the predicted time.
"""

import asyncio
import copy
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

from serve_app.bench.client import Address
from serve_app.bench.load import LoadFailed

CONCURRENCIES = (1, 3, 6)
NUM_WARM_UP = 40
_PROMPTS, _REPLIES = (30, 1500), (8, 200)
_TOKENS_PER_WORD = 1.1
_WORDS = (
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part", "place",
)  # fmt: skip
_PATIENCE_S = 300.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Planned:
    """A request to send; prompt and reply in tokens, the prompt's count approximate."""

    tier: str
    prompt_tokens: int
    output_tokens: int
    seed: int

    @property
    def body(self) -> dict[str, Any]:
        """A chat body; the reply is exactly `output_tokens` long."""
        draw = random.Random(self.seed)
        words = " ".join(draw.choices(_WORDS, k=int(self.prompt_tokens / _TOKENS_PER_WORD)))
        return {
            "model": self.tier,
            "messages": [{"role": "user", "content": words}],
            "temperature": 0.0,
            "ignore_eos": True,
            "min_tokens": self.output_tokens,
            "max_tokens": self.output_tokens,
        }


@dataclass(frozen=True, slots=True)
class Answered:
    """One reply, in seconds.

    e2e_s: by Tandem's clock, from the request's arrival until its last byte went out, which is what
    is forecast. caller_s: by its caller's, with the way there and back. predicted_s, p50_s, p95_s:
    as forecast when it was asked for.
    """

    tier: str
    concurrency: int
    e2e_s: float
    caller_s: float
    predicted_s: float
    p50_s: float
    p95_s: float

    @property
    def is_covered(self) -> bool:
        return self.e2e_s <= self.p95_s

    @property
    def is_covered_for_caller(self) -> bool:
        return self.caller_s <= self.p95_s

    @property
    def outside_s(self) -> float:
        """On the way to Tandem and back, where nothing can be foreseen from inside."""
        return self.caller_s - self.e2e_s


def planned(tiers: Sequence[str], count: int, seed: int) -> list[Planned]:
    """Requests to each tier in turn; any doubling of a length is as likely as another."""
    draw = random.Random(seed)

    def between(least: int, most: int) -> int:
        return round(math.exp(draw.uniform(math.log(least), math.log(most))))

    return [
        Planned(tiers[i % len(tiers)], between(*_PROMPTS), between(*_REPLIES), draw.getrandbits(32))
        for i in range(count)
    ]


def at_address(content: Mapping[str, Any], address: Address) -> dict[str, Any]:
    """The Serve file, listening at `address`."""
    derived = copy.deepcopy(dict(content))
    derived["http_options"] = {"host": address.host, "port": address.port}
    return derived


def client_of(address: Address) -> httpx.AsyncClient:
    """A client with patience for a slow engine."""
    return httpx.AsyncClient(base_url=f"http://{address.host}:{address.port}", timeout=_PATIENCE_S)


class Turn(NamedTuple):
    """Callers at once, and how many requests warm up and are scored at that load."""

    concurrency: int
    num_warm_up: int
    num_scored: int


def turns(count: int, num_rounds: int) -> list[Turn]:
    """The three loads one after the other, `num_rounds` times, for `count` scored requests in all.

    More rounds even out a machine whose speed drifts: each load meets it at several times.
    """
    total = num_rounds * len(CONCURRENCIES)
    num_warm_up = math.ceil(NUM_WARM_UP / num_rounds)
    return [
        Turn(concurrency, num_warm_up, count // total + (i < count % total))
        for i, concurrency in enumerate(num_rounds * CONCURRENCIES)
    ]


async def answers(
    client: httpx.AsyncClient, tiers: Sequence[str], planned_turns: Sequence[Turn], say: Say
) -> list[Answered]:
    """The scored replies of all turns.

    A closed loop: so many callers who each ask again at once. The load then cannot run away on a
    machine whose engines share two cores with the caller.

    Raises:
        LoadFailed: a request, or the question for its decision, was not answered with 200.
    """
    scored: list[Answered] = []
    for seed, (concurrency, num_warm_up, num_scored) in enumerate(planned_turns):
        say(f"{concurrency} at once: warming up")
        await _closed_loop(client, planned(tiers, num_warm_up, seed=1_000 + seed), concurrency)
        say(f"{concurrency} at once: {num_scored} requests")
        scored += await _closed_loop(client, planned(tiers, num_scored, seed), concurrency)
    return scored


async def _closed_loop(
    client: httpx.AsyncClient, requests: Sequence[Planned], concurrency: int
) -> list[Answered]:
    left = iter(requests)

    async def caller() -> list[_Measured]:
        # One iterator for all callers: each takes the next request that nobody has taken.
        return [await _measured(client, request) for request in left]

    done = await asyncio.gather(*(caller() for _ in range(concurrency)))
    answered: list[Answered] = []
    # Asked for afterwards, so that the questions are no load.
    for _, tier, caller_s, decision_id in sorted(one for part in done for one in part):
        found = await _sent(client.get(f"/v1/router/decisions/{decision_id}"))
        answered.append(as_answered(tier, concurrency, caller_s, found.json()))
    return answered


async def _measured(client: httpx.AsyncClient, request: Planned) -> "_Measured":
    began_s = time.perf_counter()
    reply = await _sent(client.post("/v1/chat/completions", json=request.body))
    caller_s = time.perf_counter() - began_s
    return _Measured(began_s, request.tier, caller_s, reply.headers["x-router-decision-id"])


class _Measured(NamedTuple):
    began_s: float
    tier: str
    caller_s: float
    decision_id: str


def as_answered(
    tier: str, concurrency: int, caller_s: float, document: Mapping[str, Any]
) -> Answered:
    """A reply and the decision behind it, as `/v1/router/decisions/{id}` tells it.

    Raises:
        LoadFailed: it has no forecast for the tier, or does not say how long the reply took.
    """
    e2e_ms = (document.get("outcome") or {}).get("e2e_ms")
    if e2e_ms is None:
        raise LoadFailed(f"the decision on a request to {tier!r} does not say how it ended")
    for candidate in document.get("candidates", ()):
        if candidate["tier"] == tier:
            predicted_s, p50_s, p95_s = (
                candidate[f"{name}_e2e_ms"] / 1e3 for name in ("predicted", "p50", "p95")
            )
            return Answered(tier, concurrency, e2e_ms / 1e3, caller_s, predicted_s, p50_s, p95_s)
    raise LoadFailed(f"the decision on a request to {tier!r} says nothing of that tier")


async def _sent(sending: Awaitable[httpx.Response]) -> httpx.Response:
    try:
        reply = await sending
    except httpx.HTTPError as err:
        raise LoadFailed(f"Tandem did not answer: {type(err).__name__} {err}") from err
    if reply.status_code != 200:
        raise LoadFailed(f"{reply.request.url} answered {reply.status_code}: {reply.text[:300]}")
    return reply
