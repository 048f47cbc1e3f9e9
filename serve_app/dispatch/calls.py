"""What a tier is sent for a request: the caller's body, its urgency, what the router knows."""

import time

from deployments.adapters import adapted
from deployments.messages import EngineCall
from serve_app.asks import Ask
from serve_app.routing.types import Candidate
from serve_app.telemetry.records import RequestRecord

_PRIORITY_PER_S = 100


def engine_call(
    record: RequestRecord,
    candidate: Candidate,
    suffix: str = "",
    *,
    now: float,
    ask: Ask | None = None,
) -> EngineCall:
    """The call to the candidate's tier.

    Args:
        suffix: tells two calls of one request apart. now: on the clock of the ask's arrival.
        ask: what to send when it is not what the caller sent.
    """
    ask = ask or record.ask
    body = ask.body | {"model": adapted(candidate.tier, ask.adapter)}
    fitted = record.decision.fitted_max_tokens if record.decision else None
    if fitted is not None:
        body.pop("max_completion_tokens", None)
        body["max_tokens"] = fitted
    call: EngineCall = {
        "endpoint": ask.endpoint,
        "request_id": ask.request_id + suffix,
        "body": body,
        "priority": _priority(ask, now),
        "headers": dict(record.trace_headers),
        "work_s": candidate.e2e_s - candidate.time.wait_s,
        "expires_at_s": time.time() + ask.deadline_s - (now - ask.arrived_at_s),
    }
    if ask.session_id is not None:
        call["session_id"] = ask.session_id
    return call


def due_at_s(ask: Ask) -> float:
    """When its first limit is reached: whole reply, first token, or the hard deadline."""
    limits_s = [ms / 1000 for ms in (ask.slo.e2e_ms, ask.slo.ttft_ms) if ms is not None]
    return ask.arrived_at_s + min([*limits_s, ask.deadline_s])


def _priority(ask: Ask, now: float) -> int:
    """The caller's own, else the deadline: vLLM serves the lowest number first, so EDF.

    On the wall clock, because routers on several machines share the engine's queue.
    """
    if ask.priority is not None:
        return ask.priority
    return round((time.time() + due_at_s(ask) - now) * _PRIORITY_PER_S)
