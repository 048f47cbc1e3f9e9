"""A Decision as JSON that a person can read. Decision in, plain dict out."""

from collections.abc import Mapping
from typing import Any

from serve_app.routing.candidate import Candidate, Exclusion
from serve_app.routing.decision import Decision

_WHY_NOT: Mapping[Exclusion, str] = {
    "starting": "no replica is running yet",
    "not-pinned": "another tier was asked for by its id",
    "adapter": "it has no such adapter",
    "context-window": "prompt and reply do not fit its context window",
    "class-share": "requests of this class already fill their share of it",
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
        "predicted_e2e_ms": _ms(selected.e2e_s) if selected else None,
        "probability": round(selected.probability, 4) if selected else None,
        "slo": {
            "e2e_ms": slo.e2e_ms,
            "ttft_ms": slo.ttft_ms,
            "tpot_ms": slo.tpot_ms,
            "attainment": slo.attainment,
            "on_infeasible": list(slo.on_infeasible),
            "source": slo.source,
        },
        "wanted": decision.wanted.tier if decision.wanted else None,
        "is_queued": decision.is_queued,
        "is_exploration": decision.is_exploration,
        "fitted_max_tokens": decision.fitted_max_tokens,
        "candidates": [_candidate(c, decision) for c in decision.candidates],
    }


def _candidate(candidate: Candidate, decision: Decision) -> dict[str, Any]:
    return {
        "tier": candidate.tier,
        "predicted_e2e_ms": _ms(candidate.e2e_s),
        "p50_e2e_ms": _ms(candidate.forecast.quantile_s(0.5)),
        "p95_e2e_ms": _ms(candidate.forecast.quantile_s(0.95)),
        "predicted_ttft_ms": _ms(candidate.time.ttft_s),
        "predicted_tpot_ms": _ms(candidate.time.step_s),
        "wait_ms": _ms(candidate.time.wait_s),
        "probability": round(candidate.probability, 4),
        "prompt_tokens": candidate.prompt_tokens,
        "output_tokens": round(candidate.output_tokens, 1),
        "output_tokens_p95": _p95_tokens(candidate),
        "idle_probability": round(candidate.idle_probability, 4),
        "quality": candidate.quality,
        "cost_usd": round(candidate.cost_usd, 8),
        "is_feasible": candidate.is_feasible,
        "why_not": why_not(candidate, decision),
    }


def _p95_tokens(candidate: Candidate) -> int:
    length = candidate.length
    return round(min(length.most, max(length.least, length.distribution.quantile(0.95))))


def why_not(candidate: Candidate, decision: Decision) -> str | None:
    """Why the decision is for another tier; None for the selected one."""
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
    if candidate.view.was_crowded:
        return "feasible, but at the edge of its capacity"
    if candidate.score < candidate.quality and selected and candidate.quality > selected.quality:
        return "feasible, but its capacity is short and others gain more from it"
    return "feasible, another tier is preferred by the objective"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
