"""How an answer looks on the wire: headers that explain it, events that stream it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve_app.api.parsing.bodies import Parsed
from serve_app.errors import TandemError
from serve_app.telemetry.explain import explain
from serve_app.telemetry.records import RequestRecord


class JsonResponse(Response):
    """JSON by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else orjson.dumps(content)


def error_response(error: TandemError, headers: Mapping[str, str] | None = None) -> Response:
    """The error in OpenAI's form, with its own headers."""
    return JsonResponse(
        error.body(), status_code=error.status, headers={**(headers or {}), **error.headers}
    )


def decision_headers(record: RequestRecord, parsed: Parsed, *, now: float) -> dict[str, str]:
    """`x-router-*` and `Server-Timing`; `x-router-slo-met` only once the reply is whole."""
    headers = {
        "x-router-decision-id": record.ask.request_id,
        "x-router-attempts": str(record.attempts),
    }
    if record.decision is not None and record.candidate is not None:
        headers["x-router-selected-model"] = record.candidate.tier
        headers["x-router-reason"] = str(record.decision.reason)
        headers["x-router-predicted-e2e-ms"] = _ms(record.candidate.e2e_s)
        if record.ask.slo.e2e_ms is not None:
            headers["x-router-slo-e2e-ms"] = f"{record.ask.slo.e2e_ms:g}"
        if not record.ask.slo.is_empty:
            headers["x-router-slo-probability"] = f"{record.candidate.probability:.3f}"
    if record.decision is not None and record.decision.fitted_max_tokens is not None:
        headers["x-router-fitted-max-tokens"] = str(record.decision.fitted_max_tokens)
    if record.is_insured:
        headers["x-router-insured"] = "true"
    if record.overhead_s is not None:
        headers["x-router-overhead-ms"] = _ms(record.overhead_s)
    is_met = record.is_slo_met(now) if record.finished_at_s is not None else None
    if is_met is not None:
        headers["x-router-slo-met"] = str(is_met).lower()
    if parsed.objective.warnings:
        headers["x-router-warning"] = "; ".join(parsed.objective.warnings)
    headers["server-timing"] = _server_timing(record, now)
    return headers


def debug_headers(record: RequestRecord) -> dict[str, str]:
    """`x-router-candidates`: every tier's prediction, for `x-router-debug: true`."""
    if record.decision is None:
        return {}
    candidates = explain(record.ask.request_id, record.decision)["candidates"]
    return {"x-router-candidates": orjson.dumps(candidates).decode()}


class EventStreamResponse(Response):
    """Server-sent events, sent by the task that made them.

    Starlette's StreamingResponse would iterate in another task; deadlines and cancellation must
    reach the generator, so it is iterated and closed here.

    Args:
        ended: called once however it ends, also when nothing of it could be sent.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        ended: Callable[[], Awaitable[None]],
    ) -> None:
        self.status_code = 200
        self.media_type = "text/event-stream"
        self.background = None
        self._events = events
        self._ended = ended
        self.init_headers({**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for event in self._events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            try:
                await self._events.aclose()
            finally:
                await self._ended()


async def with_error_event(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Ends a stream that fails with an error event; a status is no longer possible."""
    try:
        async for event in events:
            yield event
    except TandemError as error:
        yield b"data: " + orjson.dumps(error.body()) + b"\n\n"
        yield b"data: [DONE]\n\n"
    finally:
        await events.aclose()


def _server_timing(record: RequestRecord, now: float) -> str:
    parts = []
    if record.overhead_s is not None:
        parts.append(f"route;dur={_ms(record.overhead_s)}")
    if record.dispatched_at_s is not None:
        until = record.first_token_at_s or now
        name = "ttft" if record.first_token_at_s else "generate"
        parts.append(f"{name};dur={_ms(until - record.dispatched_at_s)}")
    return ", ".join(parts) or "route;dur=0"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"
