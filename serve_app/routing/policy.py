"""Chooses a tier. Data in, Decision out; knows no HTTP, no Ray, no clock."""

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from serve_app.config import Objective
from serve_app.routing.assess import assess
from serve_app.routing.candidate import Candidate
from serve_app.routing.decision import Decision, Reason
from serve_app.routing.infeasible import when_infeasible
from serve_app.routing.types import RoutingRequest, TierView

_BUSY_FILL: Final = 0.5
_EXPLORED_SHARE: Final = 0.01
_EXPLORED_AFTER_S: Final = 60.0
_EXPLORED_BELOW_FILL: Final = 0.25
_INSURED_ABOVE: Final = 0.5
_CLEAR_SHARE: Final = 0.2


def choose(request: RoutingRequest, views: Sequence[TierView], *, objective: Objective) -> Decision:
    """Chooses the best tier that still meets the request's SLO.

    Feasible is a tier whose probability of meeting the SLO now reaches the asked attainment. Among
    those `objective` decides: `best_quality_within_slo` or `cheapest_within_slo`. With no feasible
    tier, the request's own `on_infeasible` chain says what to try.
    """
    candidates = tuple([assess(request, view, objective) for view in views])
    eligible = [candidate for candidate in candidates if candidate.excluded is None]
    feasible = _feasible(eligible, _needed(request))
    if not feasible:
        return when_infeasible(request, eligible, candidates)
    best = _best(feasible)
    explored = _explored(request, best, eligible)
    selected = explored or best
    return Decision(
        selected,
        _reason(request, selected, candidates, objective),
        request.slo,
        candidates,
        is_exploration=explored is not None,
        insured=_insured(request, selected, eligible),
    )


def _needed(request: RoutingRequest) -> float:
    """The probability that makes a tier feasible; half as strict for a caller who was told when to
    come back and did, because refusing him again would make the promise worthless.
    """
    if request.slo.is_empty:
        return 0.0
    missing = 1.0 - request.slo.attainment
    return 1.0 - (2.0 if request.is_returning else 1.0) * missing


def _feasible(eligible: list[Candidate], needed: float) -> list[Candidate]:
    """Those that meet the SLO, best first; whoever could not win against these is not asked."""
    feasible: list[Candidate] = []
    to_beat = -math.inf
    for candidate in sorted(eligible, key=attrgetter("highest_score"), reverse=True):
        if candidate.highest_score < to_beat:
            break
        if candidate.reaches(needed):
            feasible.append(candidate)
            if _is_clear(candidate):
                to_beat = max(to_beat, candidate.score)
    return feasible


def _best(feasible: list[Candidate]) -> Candidate:
    """The highest score; a tier that was just crowded must be clear of the edge first.

    Without that, a tier at the edge of its capacity would win and lose every other request.
    """
    if len(feasible) == 1:
        return feasible[0]
    candidates = [c for c in feasible if _is_clear(c)] or feasible
    is_busy = max(candidate.fill for candidate in candidates) >= _BUSY_FILL
    direction = -1.0 if is_busy else 1.0
    # Equals are packed while there is room, so that a replica can go, and spread when there is not.
    return max(candidates, key=lambda c: (c.score, direction * c.fill, -c.e2e_s))


def _is_clear(candidate: Candidate) -> bool:
    return not candidate.view.was_crowded or candidate.reaches(_clear_of(candidate))


def _clear_of(candidate: Candidate) -> float:
    attainment = candidate.slo.attainment
    return attainment + (1.0 - attainment) * _CLEAR_SHARE


def _reason(
    request: RoutingRequest,
    selected: Candidate,
    candidates: tuple[Candidate, ...],
    objective: Objective,
) -> Reason:
    if request.pinned_tier:
        return "pinned"
    if any(c.excluded == "context-window" and c.score > selected.score for c in candidates):
        return "context-window"
    if request.slo.is_empty:
        return "no-slo"
    is_best = objective == "best_quality_within_slo"
    return "best-quality-within-slo" if is_best else "cheapest-within-slo"


def _explored(
    request: RoutingRequest, best: Candidate, eligible: list[Candidate]
) -> Candidate | None:
    """Now and then a tier that was not heard of for long, where that risks no SLO.

    What is believed of a tier that nobody uses is old, and a wrong belief would never be found
    out. One request in a hundred is the bound, and only on a tier with room.
    """
    if request.draw >= _EXPLORED_SHARE or request.pinned_tier:
        return None
    unheard = [
        c for c in eligible
        if c is not best
        and (c.view.silence_s is None or c.view.silence_s > _EXPLORED_AFTER_S)
        and c.fill < _EXPLORED_BELOW_FILL
        and c.reaches(_clear_of(c))
    ]  # fmt: skip
    return max(unheard, key=lambda c: c.score, default=None)


def _insured(
    request: RoutingRequest, selected: Candidate, eligible: list[Candidate]
) -> Candidate | None:
    if not request.slo.is_insured or request.slo.e2e_ms is None:
        return None
    middling = [
        c for c in eligible
        if c.score > selected.score and _INSURED_ABOVE <= c.probability < request.slo.attainment
    ]  # fmt: skip
    return max(middling, key=lambda c: c.score, default=None)
