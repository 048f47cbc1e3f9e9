"""Chooses a tier. Data in, Decision out; knows no HTTP, no Ray, no clock."""

from collections.abc import Callable, Sequence

from serve_app.routing.latency import IDLE, ReplyTime, TierLoad, predict
from serve_app.routing.lengths import expected_output_tokens
from serve_app.routing.types import (
    Candidate,
    Decision,
    Exclusion,
    Reason,
    RoutingRequest,
    Slo,
    TierView,
)


def choose(request: RoutingRequest, views: Sequence[TierView], *, objective: str) -> Decision:
    """Chooses the best tier that still meets the request's SLO.

    Feasible is a tier whose probability of meeting the SLO now reaches the asked attainment. Among
    those `objective` decides: `best_quality_within_slo` or `cheapest_within_slo`. With no feasible
    tier, a degradable request goes to the likeliest one, any other to none.
    """
    candidates = tuple(assess(request, view) for view in views)
    eligible = [candidate for candidate in candidates if candidate.excluded is None]
    selected, reason = _select(request, eligible, objective)
    if selected and reason != "pinned" and _lost_to_context(selected, candidates, objective):
        reason = "context-window"
    return Decision(selected, reason, request.slo, candidates)


def assess(request: RoutingRequest, view: TierView) -> Candidate:
    """Predicts what one tier would do with the request, now and when idle."""
    prompt_tokens = request.prompt_tokens[view.tier]
    context_left = view.context_tokens - prompt_tokens
    output_tokens = expected_output_tokens(
        request, mean_tokens=view.mean_output_tokens, context_left=context_left
    )
    time = _time(request, view, view.load, prompt_tokens, output_tokens)
    idle_time = _time(request, view, IDLE, prompt_tokens, output_tokens)
    probability = _probability(request.slo, view, time)
    excluded = _exclusion(request, view, prompt_tokens)
    return Candidate(
        tier=view.tier,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        time=time,
        idle_time=idle_time,
        p95_e2e_s=view.correction.bound_s(time.e2e_s, 0.95),
        probability=probability,
        idle_probability=_probability(request.slo, view, idle_time),
        smallest_e2e_s=view.correction.bound_s(time.e2e_s, request.slo.attainment),
        largest_output_tokens=_largest_output(request.slo, view, idle_time),
        quality=view.quality_for(request.task),
        cost_usd=view.usd_per_hour / 3600 * idle_time.e2e_s / max(1.0, view.load.sequences + 1),
        correction_factor=view.correction.factor,
        excluded=excluded,
        is_feasible=excluded is None and probability >= request.slo.attainment,
    )


def _select(
    request: RoutingRequest, eligible: list[Candidate], objective: str
) -> tuple[Candidate | None, Reason | None]:
    if not eligible:
        return None, None
    preference = _preference(objective)
    if request.slo.is_empty:
        return max(eligible, key=preference), "pinned" if request.pinned_tier else "no-slo"
    feasible = [candidate for candidate in eligible if candidate.is_feasible]
    if feasible and request.pinned_tier:
        return feasible[0], "pinned"
    if feasible:
        is_best = objective == "best_quality_within_slo"
        reason: Reason = "best-quality-within-slo" if is_best else "cheapest-within-slo"
        return max(feasible, key=preference), reason
    if not request.slo.is_degradable:
        return None, None
    likeliest = max(eligible, key=lambda c: (c.probability, -c.time.e2e_s))
    return likeliest, "pinned" if request.pinned_tier else "slo-degraded"


def _preference(objective: str) -> Callable[[Candidate], tuple[float, float]]:
    if objective == "cheapest_within_slo":
        return lambda c: (-c.cost_usd, c.quality)
    return lambda c: (c.quality, -c.time.e2e_s)


def _lost_to_context(
    selected: Candidate, candidates: tuple[Candidate, ...], objective: str
) -> bool:
    """True when the prompt did not fit a tier that would have been preferred."""
    preference = _preference(objective)
    return any(
        candidate.excluded == "context-window" and preference(candidate) > preference(selected)
        for candidate in candidates
    )


def _exclusion(request: RoutingRequest, view: TierView, prompt_tokens: int) -> Exclusion | None:
    if request.pinned_tier is not None and request.pinned_tier != view.tier:
        return "not-pinned"
    if not view.is_ready:
        return "starting"
    # A reply of explicit length must fit as well; without one the engine fills what is left.
    if prompt_tokens + max(1, request.max_tokens or 1) > view.context_tokens:
        return "context-window"
    if request.pinned_tier is None and (
        prompt_tokens < view.min_prompt_tokens
        or (view.max_prompt_tokens is not None and prompt_tokens > view.max_prompt_tokens)
    ):
        return "prompt-rule"
    return None


def _time(
    request: RoutingRequest, view: TierView, load: TierLoad, prompt_tokens: int, output_tokens: int
) -> ReplyTime:
    raw = predict(
        view.profile,
        load,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        sequences=request.sequences,
        max_num_seqs=view.max_num_seqs,
    )
    return raw.scaled(view.correction.factor)


def _probability(slo: Slo, view: TierView, time: ReplyTime) -> float:
    """The least likely of the asked limits; they share their causes, so no product."""
    limits = [(time.e2e_s, slo.e2e_ms), (time.ttft_s, slo.ttft_ms), (time.step_s, slo.tpot_ms)]
    return min(
        (
            view.correction.probability(predicted_s, limit_ms / 1000)
            for predicted_s, limit_ms in limits
            if limit_ms is not None
        ),
        default=1.0,
    )


def _largest_output(slo: Slo, view: TierView, idle_time: ReplyTime) -> int:
    """Longest reply, in tokens, that the idle tier finishes within the SLO; 0 when none."""
    if slo.e2e_ms is None:
        return view.context_tokens
    affordable_s = slo.e2e_ms / 1000 / view.correction.bound_s(1.0, slo.attainment)
    decode_s = affordable_s - idle_time.ttft_s
    if decode_s < 0 or idle_time.step_s <= 0:
        return 0
    return min(view.context_tokens, 1 + int(decode_s / idle_time.step_s))
