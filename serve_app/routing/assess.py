"""What one tier would do with a request. A request and a view in, a Candidate out."""

from functools import partial

from serve_app.config import Objective
from serve_app.routing.candidate import Candidate, Exclusion
from serve_app.routing.latency import predict
from serve_app.routing.lengths.reply import LengthQuery
from serve_app.routing.types import RoutingRequest, TierView


def assess(request: RoutingRequest, view: TierView, objective: Objective) -> Candidate:
    """One tier as a candidate for the request."""
    prompt_tokens = request.prompt_tokens[view.tier]
    query = length_query(request, prompt_tokens, view.context_tokens)
    length = view.lengths.reply(query)
    predicted = partial(
        predict,
        view.profile,
        prompt_tokens=prompt_tokens,
        output_tokens=length.mean,
        sequences=request.sequences,
        max_num_seqs=view.max_num_seqs,
    )
    return Candidate(
        tier=view.tier,
        prompt_tokens=prompt_tokens,
        length=length,
        expected_tokens=length.mean,
        predicted=predicted,
        load=view.load,
        knowledge=view.calibrator.knowledge(trust=view.trust),
        slo=request.slo,
        elapsed_s=request.elapsed_s,
        objective=objective,
        quality=view.quality_for(request.task),
        # Who was told to come back pays none: his place was kept, and would stand empty.
        price_per_work_s=0.0 if request.is_returning else view.price.per_work_s,
        usd_per_hour=view.usd_per_hour,
        fill=view.fill,
        was_crowded=view.was_crowded,
        silence_s=view.silence_s,
        evidence=partial(view.lengths.evidence, query),
        excluded=_exclusion(request, view, prompt_tokens),
    )


def length_query(request: RoutingRequest, prompt_tokens: int, context_tokens: int) -> LengthQuery:
    """The reply's limits: `max_tokens`, `min_tokens`, `ignore_eos` and the context window."""
    most = max(1, context_tokens - prompt_tokens)
    if request.max_tokens is not None:
        most = min(most, max(1, request.max_tokens))
    least = most if request.is_length_fixed else min(most, max(1, request.min_tokens))
    return LengthQuery(
        request.route, prompt_tokens, request.expected_output_tokens, least, most,
        request.sequences,
    )  # fmt: skip


def _exclusion(request: RoutingRequest, view: TierView, prompt_tokens: int) -> Exclusion | None:
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
