"""What becomes of a request that no tier can serve in time. Candidates in, Decision out; pure."""

from dataclasses import replace
from typing import Final

from serve_app.routing.candidate import Candidate
from serve_app.routing.decision import Decision, Reason
from serve_app.routing.types import RoutingRequest

_LEAST_FIT_TOKENS: Final = 16
_TRIED_ABOVE: Final = 0.1
_TRIED_BELOW_FILL: Final = 0.5
_TRIED_SHARE: Final = 0.01
_KNOWN_AFTER: Final = 30.0
_PROBED_AFTER_S: Final = 2.0


def when_infeasible(
    request: RoutingRequest, eligible: list[Candidate], candidates: tuple[Candidate, ...]
) -> Decision:
    """Walks the request's chain `on_infeasible` until something applies.

    Args:
        eligible: of `candidates`, those that could serve it, too late or not.
    """
    refused = Decision(None, None, request.slo, candidates)
    for step in request.slo.on_infeasible:
        if step == "reject":
            break
        if step == "queue" and refused.wanted is not None:
            return replace(refused, is_queued=True)
        if step == "fit":
            fitted = _fitted(request, eligible)
            if fitted is not None:
                tokens = fitted.length.most
                reason = _degraded(request)
                return replace(refused, selected=fitted, reason=reason, fitted_max_tokens=tokens)
        if step == "degrade" and eligible:
            likeliest = max(eligible, key=lambda c: (c.probability, -c.e2e_s))
            return replace(refused, selected=likeliest, reason=_degraded(request))
    tried = _tried(request, eligible)
    if tried is None:
        return refused
    return replace(refused, selected=tried, reason=_degraded(request), is_exploration=True)


def _tried(request: RoutingRequest, eligible: list[Candidate]) -> Candidate | None:
    """A tier to try although nothing says it makes it, instead of a refusal.

    While reply lengths are not known, "impossible" is only a guess, and refusing everybody would
    keep it one. So the first few of a route are served, one in a hundred later, and one at a time
    on a tier that stands idle: those that were to be refused risk nothing. Never one that is
    hopeless, and only on a tier with room.
    """
    able = [
        c for c in eligible
        if c.idle_probability >= _TRIED_ABOVE
        and c.fill < _TRIED_BELOW_FILL
        and (
            c.length_evidence < _KNOWN_AFTER
            or request.draw < _TRIED_SHARE
            or (c.fill == 0.0 and (c.view.silence_s or 0.0) > _PROBED_AFTER_S)
        )
    ]  # fmt: skip
    return max(able, key=lambda c: c.probability, default=None)


def _degraded(request: RoutingRequest) -> Reason:
    return "pinned" if request.pinned_tier else "slo-degraded"


def _fitted(request: RoutingRequest, eligible: list[Candidate]) -> Candidate | None:
    """The best tier for which the limit is long enough for a usual reply, else the one with the
    longest; with that limit applied.
    """
    slo = request.slo
    if slo.e2e_ms is None:
        return None
    left_s = slo.e2e_ms / 1000 - request.elapsed_s
    least = max(_LEAST_FIT_TOKENS, request.min_tokens)
    fitted = [
        replace(candidate, fitted_tokens=tokens)
        for candidate in eligible
        if (tokens := candidate.forecast.largest_output_tokens(left_s, slo.attainment)) >= least
    ]
    usual_tokens = {candidate.tier: candidate.output_tokens for candidate in eligible}

    def worth(candidate: Candidate) -> tuple[bool, float]:
        tokens = candidate.length.most
        is_usual = tokens >= usual_tokens[candidate.tier]
        return is_usual, candidate.score if is_usual else tokens

    return max(fitted, key=worth, default=None)
