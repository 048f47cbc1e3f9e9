"""Admission: what a refused caller is told, and that it is true."""

import pytest

from serve_app.errors import (
    ContextWindowExceeded,
    InvalidRequest,
    Saturated,
    SloInfeasible,
    Unavailable,
)
from serve_app.routing.admission import admit
from serve_app.routing.policy import choose
from serve_app.routing.types import Candidate, RoutingRequest, TierView
from tests.unit.builders import a_large_view, a_request, a_view, busy


def admitted(request: RoutingRequest, *views: TierView) -> Candidate:
    views = views or (a_view(), a_large_view())
    decision = choose(request, views, objective="best_quality_within_slo")
    return admit(decision, max_outstanding_s=60.0)


def test_impossible_even_when_idle_names_a_deadline_that_then_works() -> None:
    # Given an objective that no idle tier meets
    with pytest.raises(SloInfeasible) as refusal:
        admitted(a_request(slo_e2e_ms=200))
    # When the caller comes back with the deadline that was named
    candidate = admitted(a_request(slo_e2e_ms=refusal.value.smallest_e2e_ms))
    # Then it is admitted
    assert candidate.is_feasible


def test_impossible_even_when_idle_names_a_reply_length_that_then_works() -> None:
    with pytest.raises(SloInfeasible) as refusal:
        admitted(a_request(slo_e2e_ms=500))
    candidate = admitted(a_request(slo_e2e_ms=500, max_tokens=refusal.value.largest_output_tokens))
    assert candidate.is_feasible


def test_possible_when_idle_but_not_now_is_told_when_to_come_back() -> None:
    request = a_request(slo_e2e_ms=2000)
    with pytest.raises(Saturated) as refusal:
        admitted(request, a_view(load=busy(4, 20_000)))
    assert refusal.value.retry_after_s == pytest.approx(2.0, rel=0.1)
    assert refusal.value.headers["retry-after"] == "3"
    assert int(refusal.value.headers["retry-after-ms"]) < 3000


def test_too_much_work_ahead_refuses_even_without_an_objective() -> None:
    with pytest.raises(Saturated, match="max_outstanding_s"):
        admitted(a_request(), a_view(load=busy(16, 0, slot_wait_s=90.0)))


def test_a_prompt_over_every_window_names_the_counts() -> None:
    with pytest.raises(ContextWindowExceeded, match="5000 prompt tokens"):
        admitted(a_request(prompt_tokens=5000))


def test_tiers_that_are_all_starting_are_unavailable() -> None:
    with pytest.raises(Unavailable, match="starting"):
        admitted(a_request(), a_view(is_ready=False), a_large_view(is_ready=False))


def test_prompt_rules_that_exclude_every_tier_are_the_callers_error() -> None:
    with pytest.raises(InvalidRequest, match="min_prompt_tokens"):
        admitted(a_request(prompt_tokens=10), a_view(min_prompt_tokens=100))
