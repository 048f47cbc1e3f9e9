"""The endpoints that generate, and the one that only says what would happen."""

import time
from collections.abc import AsyncGenerator
from typing import cast

import orjson
from starlette.requests import Request
from starlette.responses import Response

from deployments.messages import Endpoint
from serve_app.api.bodies import Parsed, parse_ask, parse_json
from serve_app.api.responses import (
    EventStreamResponse,
    JsonResponse,
    debug_headers,
    decision_headers,
    with_error_event,
)
from serve_app.api.service import Service
from serve_app.errors import BodyTooLarge
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
    service = _service(request)
    body = parse_json(await read_body(request, service))
    endpoint: Endpoint = "completions" if "prompt" in body else "chat"
    parsed = parse_ask(
        endpoint, body, request.headers, service.config, arrived_at_s=time.monotonic()
    )
    decision = await service.dispatcher.decide(parsed.ask)
    return JsonResponse(explain(parsed.ask.request_id, decision))


async def read_body(request: Request, service: Service) -> bytes:
    """The body, refused as soon as it is known to be too large."""
    limit = service.config.admission.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(size, limit)
        chunks.append(chunk)
    return b"".join(chunks)


async def _generate(request: Request, endpoint: Endpoint) -> Response:
    arrived_at_s = time.monotonic()
    service = _service(request)
    body = parse_json(await read_body(request, service))
    parsed = parse_ask(endpoint, body, request.headers, service.config, arrived_at_s=arrived_at_s)
    if parsed.ask.is_streamed:
        return await _streamed(request, service, parsed)
    reply, record = await service.dispatcher.complete(parsed.ask)
    payload = reply["body"]
    if parsed.service_tier is not None:
        payload = orjson.dumps(orjson.loads(payload) | {"service_tier": parsed.service_tier})
    return JsonResponse(payload, headers=_headers(request, record, parsed))


async def _streamed(request: Request, service: Service, parsed: Parsed) -> Response:
    stream = cast(
        AsyncGenerator[RequestRecord | bytes, None], service.dispatcher.stream(parsed.ask)
    )
    try:
        record = cast(RequestRecord, await anext(aiter(stream)))
    except BaseException:
        await stream.aclose()
        raise
    events = cast(AsyncGenerator[bytes, None], stream)
    return EventStreamResponse(with_error_event(events), _headers(request, record, parsed))


def _headers(request: Request, record: RequestRecord, parsed: Parsed) -> dict[str, str]:
    headers = decision_headers(record, parsed, now=time.monotonic())
    if request.headers.get("x-router-debug") == "true":
        headers |= debug_headers(record)
    return headers


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _too_large(size: int, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body has {size} bytes or more; the limit is {limit} (admission.max_body_bytes)."
    )
