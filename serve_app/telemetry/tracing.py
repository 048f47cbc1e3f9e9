"""One OpenTelemetry trace per request, by the GenAI semantic conventions.

On when the standard OTEL_* variables name an exporter; otherwise `tracer()` is None and the
request path never touches OpenTelemetry.
"""

import os
from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from serve_app.telemetry.records import RequestRecord

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def tracer(
    environment: Mapping[str, str] = os.environ, exporter: SpanExporter | None = None
) -> Tracer | None:
    """The tracer that the environment asks for, or None when it asks for none.

    Args:
        exporter: instead of OTLP over HTTP, for tests.
    """
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    is_none = environment.get("OTEL_TRACES_EXPORTER", "") == "none"
    if exporter is None and not any(environment.get(name) for name in _ENDPOINTS):
        return None
    if is_disabled or is_none:
        return None
    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    name = environment.get("OTEL_SERVICE_NAME", "tandem")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider.get_tracer("tandem")


class RequestTrace:
    """The spans of one request: the request itself and, inside it, the generation."""

    def __init__(self, tracer: Tracer, record: RequestRecord) -> None:
        ask = record.ask
        operation = "chat" if ask.endpoint == "chat" else "text_completion"
        requested = ask.pinned_tier or (f"auto:{ask.slo_class}" if ask.slo_class else "auto")
        self._span: Span = tracer.start_span(
            f"{operation} {requested}",
            context=propagate.extract(ask.trace_headers),
            kind=SpanKind.SERVER,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "tandem",
                "gen_ai.request.model": requested,
                "tandem.decision.id": ask.request_id,
            },
        )
        headers: dict[str, str] = {}
        propagate.inject(headers, context=trace.set_span_in_context(self._span))
        record.trace_headers = headers

    def finish(self, record: RequestRecord, *, wall_offset_s: float) -> None:
        """Ends the span with what happened as its events.

        Args:
            wall_offset_s: added to the record's monotonic times to make them wall-clock times.
        """
        events = [
            ("choose", record.decided_at_s),
            ("generate", record.dispatched_at_s),
            ("first token", record.first_token_at_s),
            ("done", record.finished_at_s),
        ]
        for name, at_s in events:
            if at_s is not None:
                self._span.add_event(name, timestamp=_nanoseconds(at_s + wall_offset_s))
        self._span.set_attributes(_attributes(record))
        if record.status >= 400:
            self._span.set_status(Status(StatusCode.ERROR, record.error_code))
        self._span.end()


def _attributes(record: RequestRecord) -> dict[str, str | int | float]:
    attributes: dict[str, str | int | float | None] = {
        "gen_ai.response.model": record.tier,
        "gen_ai.usage.input_tokens": record.usage["prompt_tokens"] if record.usage else None,
        "gen_ai.usage.output_tokens": record.usage["completion_tokens"] if record.usage else None,
        "http.response.status_code": record.status,
        "error.type": record.error_code,
        "tandem.reason": record.reason,
        "tandem.slo.e2e_ms": record.ask.slo.e2e_ms,
        "tandem.predicted_e2e_ms": (
            round(record.candidate.e2e_s * 1000, 1) if record.candidate else None
        ),
    }
    return {key: value for key, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
