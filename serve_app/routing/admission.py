"""Admits a decided request or says why not. Decision in, error or nothing out; knows no clock."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from serve_app.config import Objective
from serve_app.errors import (
    ContextWindowExceeded,
    InvalidRequest,
    Saturated,
    SloInfeasible,
    TandemError,
    Unavailable,
)
from serve_app.routing.assess import assess
from serve_app.routing.candidate import Candidate
from serve_app.routing.decision import Decision
from serve_app.routing.live.ledger import Ledger
from serve_app.routing.types import RoutingRequest, TierView

_ROUND_MS: Final = 10
# Between this answer and the next request the load changes a little.
_MARGIN: Final = 1.05
_LEAST_RETRY_S: Final = 0.05
# A little late costs a caller little; a little early costs him another refusal. Callers who wait
# for each other are spaced with less of it: it adds up, and a long wait makes them give up.
_PRUDENCE: Final = 1.3
_SPACING: Final = 1.15
_OBJECTIVE: Final[Objective] = "best_quality_within_slo"


def admit(
    decision: Decision, *, max_outstanding_s: float, retry_after_s: Mapping[str, float]
) -> Candidate:
    """Returns the selected candidate, or raises what the caller should be told.

    Args:
        retry_after_s: by tier that could serve the request when idle, when it could again.

    Raises:
        ContextWindowExceeded: the prompt and its reply fit no tier's window.
        Unavailable: every tier that could take it is still starting.
        SloInfeasible: not even an idle tier could meet the SLO.
        Saturated: an idle tier could, but there is too much work ahead now.
    """
    selected = decision.selected
    if selected is None:
        raise _refusal(decision, retry_after_s)
    if selected.time.wait_s > max_outstanding_s:
        raise Saturated(
            f"Tier {selected.tier!r} has {selected.time.wait_s:.0f} s of work ahead of this "
            f"request, more than the {max_outstanding_s:.0f} s that admission.max_outstanding_s "
            "allows. Retry later.",
            retry_after_s=selected.time.wait_s - max_outstanding_s / 2,
            tier=selected.tier,
        )
    return selected


def possible_when_idle(decision: Decision) -> list[Candidate]:
    """Those that only the load of the moment keeps from meeting the SLO."""
    if decision.selected is not None:
        return []
    return [c for c in decision.candidates if c.is_feasible_when_idle]


def drains_after_s(
    request: RoutingRequest,
    view: TierView,
    ledger: Ledger,
    *,
    promised: float,
    replicas: int,
    now: float,
) -> float:
    """Seconds until so much work has finished that the tier could take this request afresh.

    The number of sequences that must go is found by bisection over lighter loads, each judged as
    a request would be; the time they need is read from their own predictions. Callers who were
    told to come back before this one take their turn first.

    Args:
        view: without the places kept for others. promised: how many others will return.
    """
    fresh = replace(request, elapsed_s=0.0, max_share=1.0)
    sequences = max(1, math.ceil(view.load.sequences))
    low, high = 0, sequences
    while low < high:
        middle = (low + high) // 2
        if _is_feasible_without(fresh, view, middle / sequences):
            high = middle
        else:
            low = middle + 1
    slots = view.max_num_seqs * max(1, replicas)
    drained_s = ledger.drained_after_s(high * max(1, replicas), slots=slots, now=now)
    # So many sequences are served at once while requests like this are feasible.
    at_once = min(max(1, sequences - high), view.max_num_seqs) * max(1, replicas)
    turn_s = promised * ledger.slot_s / at_once
    return max(_LEAST_RETRY_S, drained_s * _PRUDENCE + turn_s * _SPACING)


def _is_feasible_without(request: RoutingRequest, view: TierView, share: float) -> bool:
    load = view.load
    lighter = replace(
        load,
        sequences=load.sequences * (1.0 - share),
        queued_tokens=load.queued_tokens * (1.0 - share),
        slot_wait_s=0.0 if share > 0 else load.slot_wait_s,
    )
    return assess(request, replace(view, load=lighter), _OBJECTIVE).is_feasible


def _refusal(decision: Decision, retry_after_s: Mapping[str, float]) -> TandemError:
    possible = possible_when_idle(decision)
    if possible:
        return _saturated(decision, possible, retry_after_s)
    if not decision.eligible:
        return _no_tier(decision)
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


def _saturated(
    decision: Decision, possible: list[Candidate], retry_after_s: Mapping[str, float]
) -> Saturated:
    def wait_s(candidate: Candidate) -> float:
        excess_s = max(_LEAST_RETRY_S, candidate.e2e_s - candidate.idle_e2e_s)
        return retry_after_s.get(candidate.tier, excess_s)

    soonest = min(possible, key=wait_s)
    if soonest.excluded == "class-share":
        return Saturated(
            f"Requests of this class already fill their share of tier {soonest.tier!r} "
            f"(slo_classes: max_share). Retry in about {wait_s(soonest):.1f} s.",
            retry_after_s=wait_s(soonest),
            tier=soonest.tier,
        )
    return Saturated(
        f"No tier can meet the SLO of {_asked(decision)} now; {soonest.tier!r} could once the "
        f"work ahead has drained, in about {wait_s(soonest):.1f} s. Retry then.",
        retry_after_s=wait_s(soonest),
        tier=soonest.tier,
    )


def _infeasible(decision: Decision) -> SloInfeasible:
    smallest_s = min(c.smallest_e2e_s for c in decision.eligible)
    smallest_ms = math.ceil(smallest_s * _MARGIN * 1000 / _ROUND_MS) * _ROUND_MS
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
