"""A steady load of streamed and unstreamed requests, each judged word for word."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal

import httpx
import orjson

from serve_app.bench.chaos.scenario import DEADLINE_S, Asked

_CHAT = "/v1/chat/completions"
_HEADERS = {"x-request-timeout-seconds": f"{DEADLINE_S:g}"}
# Callers connect again as the OpenAI SDKs do, and for nothing else.
_OWN_RETRIES = 2
_OWN_BACKOFF_S = 0.5
# Shorter than the server's own, so that no request meets a connection that is just being closed.
_KEPT_S = 2.0

# right: the whole text. error: refused, or a stream that ended with an error event. cut: the
# connection was lost in the middle of a stream. wrong: other text, or an end without a word.
Verdict = Literal["right", "error", "cut", "wrong"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request; seconds on the monotonic clock.

    num_engines: replicas that spoke in it. num_connections: that its caller needed. why: what was
    wrong, for whoever reads the report. decision_id: the router's, None when it said none.
    first_tries: that it took until something was said.
    """

    sent_at_s: float
    ended_at_s: float
    is_streamed: bool
    verdict: Verdict
    num_engines: int = 0
    num_connections: int = 1
    why: str = ""
    decision_id: str | None = None
    first_tries: int = 1


class Callers:
    """Sends a request every so often, whatever became of the others.

    Args:
        ask: the request of that number.
    """

    def __init__(
        self, base_url: str, rate_per_s: float, ask: Callable[[int, random.Random], Asked]
    ) -> None:
        self._base_url = base_url
        self._every_s = 1.0 / rate_per_s
        self._ask = ask
        self.answers: list[Answer] = []

    async def run(self) -> None:
        """Until cancelled; then waits for what is still under way."""
        limits = httpx.Limits(max_connections=None, keepalive_expiry=_KEPT_S)
        draw = random.Random(7)
        async with (
            httpx.AsyncClient(
                base_url=self._base_url, timeout=DEADLINE_S + 10.0, limits=limits
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            number = 0
            try:
                while True:
                    group.create_task(self._call(client, self._ask(number, draw)))
                    number += 1
                    await asyncio.sleep(self._every_s)
            except asyncio.CancelledError:
                return

    async def _call(self, client: httpx.AsyncClient, asked: Asked) -> None:
        self.answers.append(await answered(client, asked))


async def answered(client: httpx.AsyncClient, asked: Asked) -> Answer:
    """Sends a request; again only when the connection broke before anything was said."""
    sent_at_s = time.monotonic()
    for connection in range(1, _OWN_RETRIES + 2):
        try:
            return await _try(client, asked, sent_at_s, connection)
        except httpx.TransportError as err:
            answer = _answer(asked, sent_at_s, connection, "error", why=repr(err))
        await asyncio.sleep(_OWN_BACKOFF_S * connection)
    return answer


async def _try(
    client: httpx.AsyncClient, asked: Asked, sent_at_s: float, connection: int
) -> Answer:
    """
    Raises:
        httpx.TransportError: the connection was lost before anything was said.
    """
    if asked.is_streamed:
        return await _streamed(client, asked, sent_at_s, connection)
    response = await client.post(_CHAT, json=asked.body, headers=_HEADERS)
    if response.status_code != 200:
        return _answer(asked, sent_at_s, connection, "error", why=response.text[:200])
    text = response.json()["choices"][0]["message"]["content"]
    return _judged(asked, text, sent_at_s, connection, num_engines=1)


async def _streamed(
    client: httpx.AsyncClient, asked: Asked, sent_at_s: float, connection: int
) -> Answer:
    events: list[dict[str, Any]] = []
    is_done = False
    try:
        async with client.stream("POST", _CHAT, json=asked.body, headers=_HEADERS) as response:
            if response.status_code != 200:
                why = (await response.aread())[:200].decode(errors="replace")
                return _answer(asked, sent_at_s, connection, "error", why=why)
            async for line in response.aiter_lines():
                if line == "data: [DONE]":
                    is_done = True
                elif line.startswith("data: "):
                    events.append(orjson.loads(line.removeprefix("data: ")))
    except httpx.TransportError as err:
        if not events:
            raise
        return _answer(asked, sent_at_s, connection, "cut", why=repr(err))
    errors = [event["error"] for event in events if "error" in event]
    if errors and is_done:
        return _answer(asked, sent_at_s, connection, "error", why=str(errors[0])[:200])
    if not is_done:
        return _answer(asked, sent_at_s, connection, "wrong", why="ended without [DONE]")
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    text = "".join(delta.get("content") or "" for delta in deltas)
    engines = {event.get("system_fingerprint") for event in events}
    return replace(
        _judged(asked, text, sent_at_s, connection, num_engines=len(engines)),
        decision_id=response.headers.get("x-router-decision-id"),
        first_tries=int(response.headers.get("x-router-attempts", 1)),
    )


def _judged(
    asked: Asked, text: str, sent_at_s: float, connection: int, *, num_engines: int
) -> Answer:
    if text == asked.expected:
        return _answer(asked, sent_at_s, connection, "right", num_engines=num_engines)
    pairs = zip(asked.expected, text, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    here = slice(same, same + 60)
    return _answer(
        asked, sent_at_s, connection, "wrong", num_engines=num_engines,
        why=f"after {same} characters: expected {asked.expected[here]!r}, got {text[here]!r}",
    )  # fmt: skip


def _answer(
    asked: Asked, sent_at_s: float, connection: int, verdict: Verdict,
    *, num_engines: int = 0, why: str = "",
) -> Answer:  # fmt: skip
    return Answer(
        sent_at_s, time.monotonic(), asked.is_streamed, verdict, num_engines, connection, why
    )
