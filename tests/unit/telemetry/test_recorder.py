"""What is reported of a request, however it ends."""

import logging
from dataclasses import replace
from typing import cast, get_args

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serve_app.errors import Saturated
from serve_app.routing.candidate import Exclusion
from serve_app.routing.decision import Decision
from serve_app.routing.policy import choose
from serve_app.telemetry.explain import why_not
from serve_app.telemetry.metrics import Metrics
from serve_app.telemetry.recorder import Recorder
from serve_app.telemetry.tracing import tracer
from tests.unit.builders import a_large_view, a_request, a_view, an_ask
from tests.unit.telemetry.recording import MetricsInMemory, a_recorder

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_good_reply_is_counted_by_tier_and_reason() -> None:
    recorder, metrics = a_recorder()
    with recorder.request(an_ask()) as record:
        record.decision = choose(
            a_request(), (a_view(), a_large_view()), objective="best_quality_within_slo"
        )
        record.candidate = record.decision.selected
    tags = {"tier": "large", "reason": "no-slo", "status": "200"}
    assert metrics.counted("tandem_requests_total", **tags) == 1
    assert metrics.counted("tandem_e2e_seconds", tier="large") == 1


def test_a_refusal_is_counted_by_its_status_and_raised() -> None:
    recorder, metrics = a_recorder()
    with pytest.raises(Saturated), recorder.request(an_ask()):
        raise Saturated("full", retry_after_s=1.0)
    assert metrics.counted("tandem_requests_total", status="429") == 1


def test_a_bug_is_counted_as_an_internal_error() -> None:
    recorder, metrics = a_recorder()
    with pytest.raises(ZeroDivisionError), recorder.request(an_ask()):
        raise ZeroDivisionError
    assert metrics.counted("tandem_requests_total", status="500") == 1


def test_only_the_last_decisions_are_remembered() -> None:
    recorder, _ = a_recorder(decisions_kept=2)
    decision = choose(a_request(), (a_view(),), objective="best_quality_within_slo")
    for name in ("a", "b", "c"):
        with recorder.request(an_ask(name)) as record:
            record.decision = decision
    assert recorder.decision("a") is None
    assert recorder.decision("c") is not None


def test_the_access_log_has_no_prompt_text(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(Metrics(MetricsInMemory()), None, is_logging=True, decisions_kept=1)
    secret = {"messages": [{"role": "user", "content": "MARKER-4711"}]}
    with caplog.at_level(logging.INFO), recorder.request(an_ask(body=secret)):
        pass
    assert '"status":200' in caplog.text
    assert "MARKER-4711" not in caplog.text


def test_a_trace_joins_the_callers_and_is_passed_on() -> None:
    # Given a tracer and a caller with a trace of its own
    exporter = InMemorySpanExporter()
    traced = tracer({}, exporter)
    assert traced is not None
    recorder, _ = a_recorder(traced)
    # When a request with that trace is answered
    with recorder.request(an_ask(trace_headers={"traceparent": TRACEPARENT})) as record:
        passed_on = record.trace_headers["traceparent"]
    traced.span_processor.force_flush()  # type: ignore[attr-defined]
    # Then the span belongs to it, and the engine is given the span as its parent
    (span,) = exporter.get_finished_spans()
    assert format(span.context.trace_id, "032x") == TRACEPARENT.split("-")[1]
    assert format(span.context.span_id, "016x") == passed_on.split("-")[2]
    assert span.attributes is not None
    assert span.attributes["gen_ai.operation.name"] == "chat"


def test_tracing_is_off_unless_the_environment_asks() -> None:
    assert tracer({}) is None
    assert tracer({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}) is None


def test_every_reason_to_leave_a_tier_out_can_be_told() -> None:
    views = (a_view(), a_large_view())
    for excluded in get_args(Exclusion):
        decision = choose(a_request(), views, objective="best_quality_within_slo")
        candidates = [replace(c, excluded=excluded) for c in decision.candidates]
        assert all(why_not(c, replace(decision, selected=None)) for c in candidates)


def test_a_report_that_fails_costs_nobody_the_reply(caplog: pytest.LogCaptureFixture) -> None:
    recorder, metrics = a_recorder()
    with recorder.request(an_ask()) as record:
        record.decision = cast(Decision, "no decision")
    assert "could not be reported" in caplog.text
    assert recorder.num_in_flight == 0
    assert metrics.seen[-1][:2] == ("tandem_in_flight", 0)


def test_who_is_under_way_is_told_at_once() -> None:
    recorder, metrics = a_recorder()
    with recorder.request(an_ask()):
        assert metrics.seen[-1][:2] == ("tandem_in_flight", 1)
