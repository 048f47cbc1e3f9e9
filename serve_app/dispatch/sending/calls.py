"""What a tier is sent for a request: the caller's body, its urgency, what the router knows."""

import time

from deployments.adapters import adapted
from deployments.messages import EngineCall
from serve_app.asks import Ask
from serve_app.dispatch.deciding.attempt import Attempt
from serve_app.routing.candidate import Candidate

_PRIORITY_PER_S = 100


def engine_call(attempt: Attempt, ask: Ask, *, stalled_after_s: float, now: float) -> EngineCall:
    """The call to the attempt's tier.

    Args:
        ask: what is to be sent, which for a continued stream is not what the caller sent.
        stalled_after_s: silence beyond the predicted time that is taken for a stall.
        now: on the clock of the ask's arrival.
    """
    candidate, record = attempt.candidate, attempt.record
    body = ask.body | {"model": adapted(candidate.tier, ask.adapter)}
    fitted = record.decision.fitted_max_tokens if record.decision else None
    if fitted is not None:
        body.pop("max_completion_tokens", None)
        body["max_tokens"] = fitted
    call: EngineCall = {
        "endpoint": ask.endpoint,
        "request_id": attempt.call_id,
        "body": body,
        "priority": _priority(ask, now),
        "headers": dict(record.trace_headers),
        "work_s": candidate.e2e_s - candidate.time.wait_s,
        "expires_at_s": time.time() + ask.deadline_s - (now - ask.arrived_at_s),
        "patience_s": _longest_silence_s(candidate, ask) + stalled_after_s,
    }
    if ask.session_id is not None:
        call["session_id"] = ask.session_id
    return call


def _longest_silence_s(candidate: Candidate, ask: Ask) -> float:
    """Of an engine that works; unstreamed, nothing is heard of the longest reply until it ends."""
    usual_s = candidate.forecast.quantile_s(0.99)
    if ask.is_streamed:
        return usual_s
    return max(usual_s, candidate.time.e2e_s(candidate.length.most))


def _priority(ask: Ask, now: float) -> int:
    """The caller's own, else the deadline: vLLM serves the lowest number first, so EDF.

    On the wall clock, because routers on several machines share the engine's queue.
    """
    if ask.priority is not None:
        return ask.priority
    return round((time.time() + ask.due_at_s - now) * _PRIORITY_PER_S)
