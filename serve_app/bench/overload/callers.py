"""Callers who do not wait for each other, and come back once when told to. Plans in, Calls out."""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx

from serve_app.bench.client import Address
from serve_app.bench.overload.scenario import Planned

_CHAT = "/v1/chat/completions"
_HEALTH = ("/livez", "/readyz")
_PROBED_EVERY_S = 0.5
_TIMEOUT_S = 60.0
# More than three times the capacity leaves behind in a minute; who is told longer gives up.
_PATIENCE_S = 150.0
# Shorter than the server's own, so that no request meets a connection that is just being closed.
_KEPT_S = 2.0


@dataclass(frozen=True, slots=True)
class Try:
    """One request and its answer; seconds. at_s: when it was sent, after the phase began.

    status: None when there was no answer. slo_s: what was asked of it. retry_after_s: when the
    caller was told to come back. stated: the probability of success that the router stated.
    """

    at_s: float
    took_s: float
    status: int | None
    slo_s: float = math.inf
    retry_after_s: float | None = None
    stated: float | None = None

    @property
    def is_served(self) -> bool:
        return self.status == 200

    @property
    def is_in_time(self) -> bool:
        return self.is_served and self.took_s <= self.slo_s

    @property
    def is_failure(self) -> bool:
        """The server's fault: a 5xx, or no answer at all."""
        return self.status is None or self.status >= 500


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's request, and its second try if the first was told to come back.

    lateness_s: how much later than planned the load tool sent it.
    """

    lateness_s: float
    first: Try
    second: Try | None = None

    @property
    def is_served_on_return(self) -> bool:
        return self.second is not None and self.second.is_served

    @property
    def tries(self) -> tuple[Try, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)


def client_of(address: Address) -> httpx.AsyncClient:
    """A client with a connection for every request in flight."""
    limits = httpx.Limits(max_connections=None, keepalive_expiry=_KEPT_S)
    url = f"http://{address.host}:{address.port}"
    return httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, limits=limits)


async def offer(client: httpx.AsyncClient, requests: Sequence[Planned]) -> list[Call]:
    """Sends every request at its time, whatever became of the others; waits for all of them."""
    began_s = time.perf_counter()
    calls: list[asyncio.Task[Call]] = []
    async with asyncio.TaskGroup() as group:
        for request in requests:
            await asyncio.sleep(max(0.0, request.at_s - (time.perf_counter() - began_s)))
            calls.append(group.create_task(_call(client, request, began_s)))
    return [call.result() for call in calls]


async def probe(client: httpx.AsyncClient, answers: list[Try]) -> None:
    """Asks for the router's health again and again until cancelled."""
    began_s = time.perf_counter()
    while True:
        for path in _HEALTH:
            answers.append(await _try(client.build_request("GET", path), client, began_s))
        await asyncio.sleep(_PROBED_EVERY_S)


async def _call(client: httpx.AsyncClient, request: Planned, began_s: float) -> Call:
    asked = client.build_request("POST", _CHAT, json=request.body)
    first = await _try(asked, client, began_s, request.slo_s)
    lateness_s = first.at_s - request.at_s
    if first.retry_after_s is None or first.retry_after_s > _PATIENCE_S:
        return Call(lateness_s, first)
    # What the OpenAI SDKs do: wait as long as the header says, then say that it is a retry.
    await asyncio.sleep(first.retry_after_s)
    headers = {"x-stainless-retry-count": "1"}
    again = client.build_request("POST", _CHAT, json=request.body, headers=headers)
    return Call(lateness_s, first, await _try(again, client, began_s, request.slo_s))


async def _try(
    request: httpx.Request, client: httpx.AsyncClient, began_s: float, slo_s: float = math.inf
) -> Try:
    sent_s = time.perf_counter()
    answer: httpx.Response | None = None
    with suppress(httpx.HTTPError):
        answer = await client.send(request)
    took_s = time.perf_counter() - sent_s
    if answer is None:
        return Try(sent_s - began_s, took_s, None, slo_s)
    retry_after_ms = _number(answer, "retry-after-ms") if answer.status_code == 429 else None
    return Try(
        at_s=sent_s - began_s,
        took_s=took_s,
        status=answer.status_code,
        slo_s=slo_s,
        retry_after_s=None if retry_after_ms is None else retry_after_ms / 1e3,
        stated=_number(answer, "x-router-slo-probability"),
    )


def _number(answer: httpx.Response, header: str) -> float | None:
    text = answer.headers.get(header)
    return None if text is None else float(text)
