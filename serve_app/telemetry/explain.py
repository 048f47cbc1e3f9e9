"""A Decision as JSON that a person can read. Decision in, plain dict out."""

from typing import Any

from serve_app.routing.types import Candidate, Decision

_WHY_NOT = {
    "starting": "no replica is running yet",
    "not-pinned": "another tier was asked for by its id",
    "context-window": "prompt and reply do not fit its context window",
    "prompt-rule": "min_prompt_tokens or max_prompt_tokens of its routing block exclude it",
}


def explain(decision_id: str, decision: Decision) -> dict[str, Any]:
    """The body of `/v1/route`: times in milliseconds, cost in USD, probabilities 0 to 1."""
    selected = decision.selected
    slo = decision.slo
    return {
        "object": "router.decision",
        "decision_id": decision_id,
        "selected": selected.tier if selected else None,
        "reason": decision.reason,
        "predicted_e2e_ms": _ms(selected.time.e2e_s) if selected else None,
        "probability": round(selected.probability, 4) if selected else None,
        "slo": {
            "e2e_ms": slo.e2e_ms,
            "ttft_ms": slo.ttft_ms,
            "tpot_ms": slo.tpot_ms,
            "attainment": slo.attainment,
            "on_infeasible": "degrade" if slo.is_degradable else "reject",
            "source": slo.source,
        },
        "candidates": [_candidate(c, decision) for c in decision.candidates],
    }


def _candidate(candidate: Candidate, decision: Decision) -> dict[str, Any]:
    return {
        "tier": candidate.tier,
        "predicted_e2e_ms": _ms(candidate.time.e2e_s),
        "p95_e2e_ms": _ms(candidate.p95_e2e_s),
        "predicted_ttft_ms": _ms(candidate.time.ttft_s),
        "predicted_tpot_ms": _ms(candidate.time.step_s),
        "wait_ms": _ms(candidate.time.wait_s),
        "probability": round(candidate.probability, 4),
        "prompt_tokens": candidate.prompt_tokens,
        "output_tokens": candidate.output_tokens,
        "quality": candidate.quality,
        "cost_usd": round(candidate.cost_usd, 8),
        "is_feasible": candidate.is_feasible,
        "why_not": _why_not(candidate, decision),
    }


def _why_not(candidate: Candidate, decision: Decision) -> str | None:
    selected = decision.selected
    if selected is not None and candidate.tier == selected.tier:
        return None
    if candidate.excluded is not None:
        return _WHY_NOT[candidate.excluded]
    if not candidate.is_feasible:
        return (
            f"meets the SLO with probability {candidate.probability:.2f}, "
            f"{decision.slo.attainment:.2f} is asked"
        )
    return "feasible, another tier is preferred by the objective"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
