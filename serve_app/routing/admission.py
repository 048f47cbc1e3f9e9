"""Admits a decided request or says why not. Decision in, error or nothing out; knows no clock."""

import math

from serve_app.errors import (
    ContextWindowExceeded,
    InvalidRequest,
    Saturated,
    SloInfeasible,
    TandemError,
    Unavailable,
)
from serve_app.routing.types import Candidate, Decision

_ROUND_MS = 10


def admit(decision: Decision, *, max_outstanding_s: float) -> Candidate:
    """Returns the selected candidate, or raises what the caller should be told.

    Raises:
        ContextWindowExceeded: the prompt and its reply fit no tier's window.
        Unavailable: every tier that could take it is still starting.
        SloInfeasible: not even an idle tier could meet the SLO.
        Saturated: an idle tier could, but there is too much work ahead now.
    """
    selected = decision.selected
    if selected is None:
        raise _refusal(decision)
    if selected.time.wait_s > max_outstanding_s:
        raise Saturated(
            f"Tier {selected.tier!r} has {selected.time.wait_s:.0f} s of work ahead of this "
            f"request, more than the {max_outstanding_s:.0f} s that admission.max_outstanding_s "
            "allows. Retry later.",
            retry_after_s=selected.time.wait_s - max_outstanding_s / 2,
        )
    return selected


def _refusal(decision: Decision) -> TandemError:
    if not decision.eligible:
        return _no_tier(decision)
    attainment = decision.slo.attainment
    possible = [c for c in decision.eligible if c.idle_probability >= attainment]
    if possible:
        return _saturated(decision, possible)
    return _infeasible(decision)


def _no_tier(decision: Decision) -> TandemError:
    candidates = [c for c in decision.candidates if c.excluded != "not-pinned"]
    starting = [c.tier for c in candidates if c.excluded == "starting"]
    if starting:
        return Unavailable(
            f"No tier can take this request yet: {', '.join(starting)} still starting. "
            "Retry when /readyz answers 200."
        )
    too_long = [c for c in candidates if c.excluded == "context-window"]
    if too_long:
        sizes = ", ".join(f"{c.tier} counts {c.prompt_tokens} prompt tokens" for c in too_long)
        return ContextWindowExceeded(
            f"The prompt and the asked reply fit no tier's context window: {sizes}. "
            "Shorten the prompt or lower max_tokens; /v1/models lists each context_length.",
            param="messages",
        )
    return InvalidRequest(
        "The prompt's length is outside the min_prompt_tokens and max_prompt_tokens of every "
        "tier. Pin a tier by its id in `model`, or change the prompt."
    )


def _saturated(decision: Decision, possible: list[Candidate]) -> Saturated:
    soonest = min(possible, key=lambda c: c.time.e2e_s - c.idle_time.e2e_s)
    excess_s = max(0.05, soonest.time.e2e_s - soonest.idle_time.e2e_s)
    return Saturated(
        f"No tier can meet the SLO of {_asked(decision)} now; {soonest.tier!r} could once the "
        f"work ahead has drained, in about {excess_s:.1f} s. Retry then.",
        retry_after_s=excess_s,
    )


def _infeasible(decision: Decision) -> SloInfeasible:
    smallest_s = min(c.smallest_e2e_s for c in decision.eligible)
    smallest_ms = math.ceil(smallest_s * 1000 / _ROUND_MS) * _ROUND_MS
    largest = max(c.largest_output_tokens for c in decision.eligible)
    return SloInfeasible(
        f"No tier can meet the SLO of {_asked(decision)}, not even when idle. The smallest "
        f"feasible deadline for this request is {smallest_ms} ms; the longest reply that fits the "
        f"asked one is {largest} tokens. Raise slo.e2e_ms or lower max_tokens.",
        smallest_e2e_ms=smallest_ms,
        largest_output_tokens=largest,
    )


def _asked(decision: Decision) -> str:
    slo = decision.slo
    limits = [("e2e", slo.e2e_ms), ("ttft", slo.ttft_ms), ("tpot", slo.tpot_ms)]
    return " and ".join(f"{name} {limit:g} ms" for name, limit in limits if limit is not None)
