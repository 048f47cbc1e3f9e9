"""One ended request as a line of the decision log. Record in, plain values out; no text."""

from serve_app.routing.candidate import Candidate
from serve_app.telemetry.decision_log import SCHEMA, CandidateEntry, DecisionEntry
from serve_app.telemetry.explain import why_not
from serve_app.telemetry.records import RequestRecord, Verdict


def decision_entry(
    record: RequestRecord,
    verdict: Verdict | None,
    *,
    replica: str,
    objective: str,
    wall_offset_s: float,
) -> DecisionEntry:
    """Builds the entry.

    Args:
        wall_offset_s: added to the record's monotonic times to make them Unix times.
    """
    ask, decision, candidate = record.ask, record.decision, record.candidate
    outcome = record.outcome_of_tier
    finished_at_s = record.finished_at_s or ask.arrived_at_s
    return {
        "schema": SCHEMA,
        "decision_id": ask.request_id,
        "replica": replica,
        "arrived_at_s": round(ask.arrived_at_s + wall_offset_s, 4),
        "ended_at_s": round(finished_at_s + wall_offset_s, 4),
        "endpoint": ask.endpoint,
        "is_streamed": ask.is_streamed,
        "route_key": ask.route,
        "task": ask.task,
        "slo_class": ask.slo_class,
        "slo_e2e_ms": ask.slo.e2e_ms,
        "slo_ttft_ms": ask.slo.ttft_ms,
        "slo_tpot_ms": ask.slo.tpot_ms,
        "slo_attainment": ask.slo.attainment,
        "slo_source": ask.slo.source,
        "on_infeasible": list(ask.slo.on_infeasible),
        "deadline_ms": round(ask.deadline_s * 1000, 1),
        "max_tokens": ask.max_tokens,
        "min_tokens": ask.min_tokens,
        "expected_output_tokens": ask.expected_output_tokens,
        "sequences": ask.sequences,
        "is_length_fixed": ask.is_length_fixed,
        "pinned_tier": ask.pinned_tier,
        "priority": ask.priority,
        "candidates": [_candidate(c, record) for c in decision.candidates] if decision else [],
        "objective": objective,
        "tier": record.tier,
        "reason": record.reason,
        "is_exploration": decision.is_exploration if decision else False,
        "predicted_e2e_ms": _ms(candidate.e2e_s) if candidate else None,
        "bound95_e2e_ms": _ms(verdict.bound95_s) if verdict else None,
        "probability": round(candidate.probability, 5) if candidate else None,
        "status": record.status,
        "error_code": record.error_code,
        "attempts": record.attempts,
        "decided_ms": _since(record, record.decided_at_s),
        "dispatched_ms": _since(record, record.dispatched_at_s),
        "ttft_ms": _since(record, record.first_token_at_s),
        "e2e_ms": _ms(finished_at_s - ask.arrived_at_s),
        "tier_ms": _ms(outcome.elapsed_s) if outcome else None,
        "prompt_tokens": record.usage["prompt_tokens"] if record.usage else None,
        "output_tokens": record.usage["completion_tokens"] if record.usage else None,
        "is_length_cut": outcome.is_cut if outcome and outcome.is_finished else None,
        "is_censored": outcome is not None and not outcome.is_finished,
        "is_slo_met": record.is_slo_met(finished_at_s) if record.status == 200 else None,
        "is_bound95_covered": verdict.is_covered if verdict else None,
    }


def _candidate(candidate: Candidate, record: RequestRecord) -> CandidateEntry:
    time = candidate.time
    raw_s = candidate.forecast.raw.e2e_s(candidate.output_tokens)
    return {
        "tier": candidate.tier,
        "prompt_tokens": candidate.prompt_tokens,
        "expected_output_tokens": round(candidate.output_tokens, 1),
        "predicted_e2e_ms": _ms(candidate.e2e_s),
        "predicted_ttft_ms": _ms(time.ttft_s),
        "predicted_tpot_ms": _ms(time.step_s),
        "wait_ms": _ms(time.wait_s),
        "idle_e2e_ms": _ms(candidate.idle_e2e_s),
        "batch": round(time.batch, 2),
        "correction_factor": round(candidate.e2e_s / raw_s, 4) if raw_s > 0 else 1.0,
        "probability": round(candidate.probability, 5),
        "idle_probability": round(candidate.idle_probability, 5),
        "quality": candidate.quality,
        "cost_usd": round(candidate.cost_usd, 9),
        "is_feasible": candidate.is_feasible,
        "excluded": candidate.excluded,
        "why_not": why_not(candidate, record.decision) if record.decision else None,
    }


def _since(record: RequestRecord, at_s: float | None) -> float | None:
    return None if at_s is None else _ms(at_s - record.ask.arrived_at_s)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
