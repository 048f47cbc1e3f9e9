"""The choice: which tier answers, and when none should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.routing.policy import choose
from serve_app.routing.types import Decision, RoutingRequest, Slo, TierView
from tests.unit.builders import a_large_view, a_request, a_view, busy

BEST = "best_quality_within_slo"


def decide(request: RoutingRequest, *views: TierView, objective: str = BEST) -> Decision:
    return choose(request, views or (a_view(), a_large_view()), objective=objective)


def selected(decision: Decision) -> str | None:
    return decision.selected.tier if decision.selected else None


def test_a_loose_objective_goes_to_the_best_tier() -> None:
    # Given a request that either tier could answer in time
    request = a_request(slo_e2e_ms=60_000)
    # When it is decided
    decision = decide(request)
    # Then quality wins
    assert (selected(decision), decision.reason) == ("large", "best-quality-within-slo")


def test_a_tight_objective_goes_to_the_tier_that_meets_it() -> None:
    # Given 100 tokens at 10 ms on the small tier and at 40 ms on the large one
    decision = decide(a_request(slo_e2e_ms=2000))
    assert (selected(decision), decision.reason) == ("small", "best-quality-within-slo")


def test_the_cheapest_objective_prefers_the_lower_cost() -> None:
    decision = decide(a_request(slo_e2e_ms=60_000), objective="cheapest_within_slo")
    assert (selected(decision), decision.reason) == ("small", "cheapest-within-slo")


def test_no_objective_goes_to_the_best_tier_and_says_so() -> None:
    decision = decide(a_request())
    assert (selected(decision), decision.reason) == ("large", "no-slo")


def test_an_impossible_objective_selects_nobody() -> None:
    decision = decide(a_request(slo_e2e_ms=100))
    assert selected(decision) is None


def test_a_degradable_objective_goes_to_the_likeliest_tier() -> None:
    decision = decide(a_request(slo=Slo(e2e_ms=100, is_degradable=True)))
    assert (selected(decision), decision.reason) == ("small", "slo-degraded")


def test_a_busy_large_tier_yields_to_the_small_one() -> None:
    # Given a deadline the idle large tier would meet
    request = a_request(slo_e2e_ms=6000)
    assert selected(decide(request)) == "large"
    # When the large tier has eight thousand prompt tokens queued
    decision = decide(request, a_view(), a_large_view(load=busy()))
    # Then the small one answers
    assert selected(decision) == "small"


def test_a_prompt_over_the_best_tiers_window_goes_elsewhere_and_says_why() -> None:
    decision = decide(a_request(prompt_tokens=3000), a_view(), a_large_view(context_tokens=2048))
    assert (selected(decision), decision.reason) == ("small", "context-window")


def test_a_pinned_tier_is_kept_although_a_better_one_exists() -> None:
    decision = decide(a_request(slo_e2e_ms=60_000, pinned_tier="small"))
    assert (selected(decision), decision.reason) == ("small", "pinned")


def test_a_tier_that_is_starting_is_never_selected() -> None:
    decision = decide(a_request(), a_view(), a_large_view(is_ready=False))
    assert selected(decision) == "small"


def test_a_prompt_rule_keeps_short_prompts_off_a_tier() -> None:
    decision = decide(a_request(prompt_tokens=10), a_view(), a_large_view(min_prompt_tokens=100))
    assert selected(decision) == "small"


@pytest.mark.parametrize(("task", "expected"), [("default", "large"), ("rag", "small")])
def test_quality_is_judged_for_the_task_at_hand(task: str, expected: str) -> None:
    small = a_view(quality={"default": 1.0, "rag": 9.0})
    decision = decide(a_request(task=task), small, a_large_view())
    assert selected(decision) == expected


@given(
    prompt_tokens=st.integers(1, 3000),
    max_tokens=st.integers(1, 1000),
    slo_ms=st.floats(1, 100_000),
    sequences=st.floats(0, 64),
    queued=st.floats(0, 50_000),
)
def test_an_infeasible_tier_is_never_picked_while_a_feasible_one_exists(
    prompt_tokens: int, max_tokens: int, slo_ms: float, sequences: float, queued: float
) -> None:
    request = a_request(prompt_tokens, slo_ms, max_tokens=max_tokens)
    decision = decide(request, a_view(), a_large_view(load=busy(sequences, queued)))
    if any(candidate.is_feasible for candidate in decision.candidates):
        assert decision.selected is not None
        assert decision.selected.is_feasible


@given(slo_ms=st.floats(1, 100_000), more=st.floats(1, 10))
def test_more_time_never_lowers_the_probability(slo_ms: float, more: float) -> None:
    tight = decide(a_request(slo_e2e_ms=slo_ms)).candidates
    loose = decide(a_request(slo_e2e_ms=slo_ms * more)).candidates
    for before, after in zip(tight, loose, strict=True):
        assert 0.0 <= before.probability <= after.probability <= 1.0


@given(queued=st.floats(0, 50_000), more=st.floats(0, 50_000))
def test_more_load_never_raises_the_probability(queued: float, more: float) -> None:
    request = a_request(slo_e2e_ms=5000)
    light = decide(request, a_view(load=busy(4, queued))).candidates[0]
    heavy = decide(request, a_view(load=busy(4, queued + more))).candidates[0]
    assert heavy.probability <= light.probability
