"""What one tier would do with a request. A request and a view in, a Candidate out."""

from serve_app.config import Objective
from serve_app.routing.candidate import Candidate, Exclusion
from serve_app.routing.types import RoutingRequest, TierView


def assess(request: RoutingRequest, view: TierView, objective: Objective) -> Candidate:
    """One tier as a candidate for the request."""
    query = request.length_query(request.prompt_tokens[view.tier], view.context_tokens)
    return Candidate(
        request,
        view,
        view.lengths.reply(query),
        objective,
        view.calibrator.knowledge(trust=view.trust),
        view.quality_for(request.task),
        # Who was told to come back pays none: his place was kept, and would stand empty.
        0.0 if request.is_returning else view.price.per_work_s,
        _exclusion(request, view),
    )


def _exclusion(request: RoutingRequest, view: TierView) -> Exclusion | None:
    prompt_tokens = request.prompt_tokens[view.tier]
    if request.pinned_tier is not None and request.pinned_tier != view.tier:
        return "not-pinned"
    if request.tiers is not None and view.tier not in request.tiers:
        return "adapter"
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
    if view.used_share >= request.max_share and request.max_share < 1.0:
        return "class-share"
    return None
