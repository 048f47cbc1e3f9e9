"""The endpoints that generate, and the one that only says what would happen."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import cast

import orjson
from starlette.requests import Request
from starlette.responses import Response

from deployments.messages import Endpoint
from serve_app.api.door.guard import key_of
from serve_app.api.door.visits import Visit
from serve_app.api.parsing.bodies import Parsed, parse_ask, parse_json
from serve_app.api.responses import (
    EventStreamResponse,
    JsonResponse,
    debug_headers,
    decision_headers,
    with_error_event,
)
from serve_app.api.service import Service, service_of
from serve_app.errors import BodyTooLarge, BodyTooSlow
from serve_app.telemetry.explain import explain
from serve_app.telemetry.records import RequestRecord


async def chat_completions(request: Request) -> Response:
    """OpenAI chat completions, on the tier that the router chooses."""
    return await _generate(request, "chat")


async def completions(request: Request) -> Response:
    """OpenAI completions, on the tier that the router chooses."""
    return await _generate(request, "completions")


async def route(request: Request) -> Response:
    """Dry run: the decision for a chat or completions body, with every tier's prediction."""
    service = service_of(request)
    async with service.visits.short(key_of(request)):
        parsed = await _parsed(request, service, None)
        decision = await service.dispatcher.decide(parsed.ask)
        return JsonResponse(explain(parsed.ask.request_id, decision))


async def read_body(request: Request, service: Service) -> bytes:
    """The body, refused as soon as it is known to be too large or too slow."""
    limit = service.config.admission.max_body_bytes
    timeout_s = service.config.input.body_timeout_s
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and len(declared) < 20 and int(declared) > limit:
        raise _too_large(int(declared), limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(size, limit)
                chunks.append(chunk)
    except TimeoutError as err:
        raise BodyTooSlow(
            f"The body was not there after {timeout_s:g} s (input.body_timeout_s); {size} bytes "
            "were. Send it without pauses."
        ) from err
    return b"".join(chunks)


async def _parsed(request: Request, service: Service, endpoint: Endpoint | None) -> Parsed:
    """The request's ask; by its body, when no endpoint says what it is."""
    arrived_at_s = time.monotonic()
    body = parse_json(await read_body(request, service), service.config.input)
    return parse_ask(
        endpoint or ("completions" if "prompt" in body else "chat"),
        body,
        request.headers,
        service.config,
        arrived_at_s=arrived_at_s,
        key=key_of(request),
    )


async def _generate(request: Request, endpoint: Endpoint) -> Response:
    service = service_of(request)
    parsed = await _parsed(request, service, endpoint)
    visit = await service.visits.open(key_of(request), parsed.ask)
    parsed = replace(parsed, ask=visit.ask)
    if parsed.ask.is_streamed:
        return await _streamed(request, service, parsed, visit)
    with visit.closing_on_error():
        reply, record = await service.dispatcher.complete(parsed.ask, visit.begun)
    visit.close(record)
    payload = reply["body"]
    if parsed.service_tier is not None:
        payload = orjson.dumps(orjson.loads(payload) | {"service_tier": parsed.service_tier})
    return JsonResponse(payload, headers=_headers(request, record, parsed, visit))


async def _streamed(request: Request, service: Service, parsed: Parsed, visit: Visit) -> Response:
    stream = cast(
        AsyncGenerator[RequestRecord | bytes, None],
        service.dispatcher.stream(parsed.ask, visit.begun),
    )
    with visit.closing_on_error():
        try:
            record = cast(RequestRecord, await anext(aiter(stream)))
            headers = _headers(request, record, parsed, visit)
        except BaseException:
            await stream.aclose()
            raise

    async def ended() -> None:
        try:
            await stream.aclose()
        finally:
            visit.close(record)

    events = with_error_event(cast(AsyncGenerator[bytes, None], stream))
    return EventStreamResponse(events, headers, ended)


def _headers(
    request: Request, record: RequestRecord, parsed: Parsed, visit: Visit
) -> dict[str, str]:
    headers = decision_headers(record, parsed, now=time.monotonic())
    headers |= visit.headers
    if request.headers.get("x-router-debug") == "true":
        headers |= debug_headers(record)
    return headers


def _too_large(size: int, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body has {size} bytes or more; the limit is {limit} (admission.max_body_bytes)."
    )
