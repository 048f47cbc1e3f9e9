"""The choice: which tier answers, and when none should."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.config import Objective
from serve_app.routing.decision import Decision
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.lengths.reply import LengthQuery
from serve_app.routing.live.prices import ShadowPrice
from serve_app.routing.policy import choose
from serve_app.routing.types import RoutingRequest, Slo, TierView
from tests.unit.builders import FAST, SLOW, a_large_view, a_request, a_view, busy

BEST: Objective = "best_quality_within_slo"


def decide(request: RoutingRequest, *views: TierView, objective: Objective = BEST) -> Decision:
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


def test_a_price_keeps_new_callers_from_a_short_tier_but_not_who_was_told_to_return() -> None:
    # Given a large tier for whose capacity more than its quality is paid
    price = ShadowPrice()
    for _ in range(50):
        price.wanted(5.0, is_crowded=True)
    views = a_view(), a_large_view(price=price)
    # Then a new caller goes elsewhere, and for the other one a place was kept
    assert selected(decide(a_request(slo_e2e_ms=60_000), *views)) == "small"
    returning = a_request(slo_e2e_ms=60_000, is_returning=True)
    assert selected(decide(returning, *views)) == "large"


def test_an_impossible_objective_selects_nobody() -> None:
    decision = decide(a_request(slo_e2e_ms=100))
    assert selected(decision) is None


def test_a_degradable_objective_goes_to_the_likeliest_tier() -> None:
    decision = decide(a_request(slo=Slo(e2e_ms=100, on_infeasible=("degrade",))))
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


@given(
    slo_ms=st.floats(100, 60_000),
    qualities=st.tuples(*[st.floats(0, 3)] * 3),
    prices=st.tuples(*[st.floats(0, 1)] * 3),
    were_crowded=st.tuples(*[st.booleans()] * 3),
    objective=st.sampled_from(["best_quality_within_slo", "cheapest_within_slo"]),
)
def test_no_tier_that_was_left_unasked_would_have_been_better(
    slo_ms: float,
    qualities: tuple[float, ...],
    prices: tuple[float, ...],
    were_crowded: tuple[bool, ...],
    objective: Objective,
) -> None:
    # Given tiers of any quality, price and history
    names = ("a", "b", "c")
    views = []
    for name, quality, per_work_s, was_crowded in zip(
        names, qualities, prices, were_crowded, strict=True
    ):
        price = ShadowPrice()
        price.per_work_s = per_work_s
        views.append(a_view(
            name, quality={"default": quality}, price=price, was_crowded=was_crowded,
            profile=SLOW if name == "c" else FAST,
        ))  # fmt: skip
    request = replace(a_request(slo_e2e_ms=slo_ms), prompt_tokens=dict.fromkeys(names, 512))
    # When one is chosen
    decision = choose(request, views, objective=objective)
    # Then, asked all the same, no other feasible one has the higher score
    feasible = [c for c in decision.candidates if c.is_feasible]
    clear = [c for c in feasible if not c.view.was_crowded or c.probability >= 0.96]
    if feasible:
        assert decision.selected is not None
        assert decision.selected.score == max(c.score for c in clear or feasible)


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


@given(tokens=st.integers(1, 1000), more=st.integers(0, 1000), prompt=st.integers(1, 2000))
def test_a_longer_reply_or_prompt_never_raises_the_probability(
    tokens: int, more: int, prompt: int
) -> None:
    base = decide(a_request(prompt, 5000, max_tokens=tokens), a_view()).candidates[0]
    longer = decide(a_request(prompt, 5000, max_tokens=tokens + more), a_view()).candidates[0]
    deeper = decide(a_request(prompt + more, 5000, max_tokens=tokens), a_view()).candidates[0]
    assert longer.probability <= base.probability
    assert deeper.probability <= base.probability


@given(prompt=st.integers(1, 3000), slo_ms=st.floats(1, 60_000), draw=st.floats(0, 0.999))
def test_the_same_snapshot_is_decided_the_same_way(prompt: int, slo_ms: float, draw: float) -> None:
    views = (a_view(silence_s=100.0), a_large_view(silence_s=100.0))
    request = a_request(prompt, slo_ms, draw=draw)
    assert selected(decide(request, *views)) == selected(decide(request, *views))


def test_time_already_gone_counts_against_the_objective() -> None:
    request = a_request(slo_e2e_ms=6000)
    assert selected(decide(request)) == "large"
    late = a_request(slo_e2e_ms=6000, elapsed_s=3.0)
    assert selected(decide(late)) == "small"


def test_a_short_tiers_capacity_goes_to_those_who_gain_most() -> None:
    # Given a large tier whose price has risen
    price = ShadowPrice()
    for _ in range(60):
        price.wanted(0.25, is_crowded=True)
    large = a_large_view(price=price, quality={"default": 2.0, "hard": 9.0})
    request = a_request(slo_e2e_ms=60_000)
    # Then a usual request goes to the small one, and one that gains much still to the large one
    assert selected(decide(request, a_view(), large)) == "small"
    assert selected(decide(a_request(slo_e2e_ms=60_000, task="hard"), a_view(), large)) == "large"
    # And a price never makes a feasible request infeasible
    assert selected(decide(request, large)) == "large"


def test_a_tier_at_the_edge_of_its_capacity_is_not_taken_back_at_once() -> None:
    # Given a deadline that the large tier meets with a little more than 95 %
    edge_ms = next(
        ms for ms in range(1000, 9000, 10)
        if decide(a_request(slo_e2e_ms=ms), a_large_view()).selected
    )  # fmt: skip
    request = a_request(slo_e2e_ms=edge_ms)
    assert selected(decide(request)) == "large"
    assert selected(decide(request, a_view(), a_large_view(was_crowded=True))) == "small"
    assert selected(decide(request, a_large_view(was_crowded=True))) == "large"


@pytest.mark.parametrize(("sequences", "expected"), [(4, "b"), (12, "a")])
def test_equal_tiers_are_packed_when_light_and_spread_when_busy(
    sequences: float, expected: str
) -> None:
    request = a_request(prompt_tokens=10)
    request = RoutingRequest({"a": 10, "b": 10}, request.slo, max_tokens=10)
    one, other = a_view("a"), a_view("b", load=busy(sequences, 0))
    assert selected(decide(request, one, other)) == expected


def test_a_shorter_reply_is_chosen_only_when_asked_for() -> None:
    chain = Slo(e2e_ms=2000, on_infeasible=("fit", "reject"))
    request = a_request(slo=chain, max_tokens=1000)
    decision = decide(request)
    assert (selected(decision), decision.reason) == ("small", "slo-degraded")
    assert decision.fitted_max_tokens is not None
    assert 50 < decision.fitted_max_tokens < 200
    again = a_request(slo_e2e_ms=2000, max_tokens=decision.fitted_max_tokens)
    assert decide(again).selected is not None


def test_what_fits_only_a_few_tokens_is_not_fitted() -> None:
    decision = decide(a_request(slo=Slo(e2e_ms=150, on_infeasible=("fit",)), max_tokens=1000))
    assert selected(decision) is None


def test_a_queueing_chain_waits_only_while_that_can_help() -> None:
    chain = ("queue", "degrade")
    loaded = a_view(load=busy(4, 40_000))
    possible = decide(a_request(slo=Slo(e2e_ms=3000, on_infeasible=chain)), loaded)
    hopeless = decide(a_request(slo=Slo(e2e_ms=100, on_infeasible=chain)), loaded)
    assert possible.is_queued and possible.selected is None
    assert not hopeless.is_queued and selected(hopeless) == "small"


def test_a_class_keeps_to_its_share() -> None:
    batch = a_request(slo_e2e_ms=60_000, max_share=0.25, share_key="batch")
    assert selected(decide(batch, a_view(used_share=0.2))) == "small"
    assert selected(decide(batch, a_view(used_share=0.3))) is None
    assert selected(decide(a_request(slo_e2e_ms=60_000), a_view(used_share=0.3))) == "small"


def test_a_tier_not_heard_of_is_tried_by_few_and_only_where_it_is_safe() -> None:
    unheard = a_view(silence_s=1000.0)
    safe = a_request(slo_e2e_ms=60_000, draw=0.001)
    decision = decide(safe, unheard, a_large_view())
    assert (selected(decision), decision.is_exploration) == ("small", True)
    assert selected(decide(a_request(slo_e2e_ms=60_000), unheard, a_large_view())) == "large"
    # Given that it would probably be late, it is not
    slow, fast = a_view(silence_s=1000.0, profile=SLOW), a_large_view(profile=FAST)
    tight = a_request(slo_e2e_ms=2000, draw=0.001)
    assert selected(decide(tight, slow, fast)) == "large"


def unknown_length(**changes: object) -> RoutingRequest:
    """A request that might be answered in time, of which nobody knows how long it will be."""
    return a_request(slo_e2e_ms=3000, max_tokens=None, is_length_fixed=False, **changes)


def test_the_first_requests_of_a_kind_are_served_although_nothing_is_known() -> None:
    # Given a refusal that would rest on a guess of reply lengths alone
    decision = decide(unknown_length(), a_view(lengths=OutputLengths(400)))
    # Then it is not made: otherwise nothing would ever be learned
    assert decision.is_exploration and selected(decision) == "small"


def test_a_refusal_that_rests_on_knowledge_stands() -> None:
    lengths = OutputLengths(400)
    query = LengthQuery("default", 512, None, 1, 4000)
    for _ in range(200):
        lengths.observe(query, 400)
    assert selected(decide(unknown_length(), a_view(lengths=lengths))) is None
    # But a tier that stands idle is probed, one request at a time
    probed = a_view(lengths=lengths, silence_s=10.0)
    request = a_request(slo_e2e_ms=4300, max_tokens=None, is_length_fixed=False)
    assert decide(request, probed).is_exploration
    busy_one = a_view(lengths=lengths, silence_s=10.0, load=busy(1, 0))
    assert selected(decide(request, busy_one)) is None


def test_a_caller_who_returns_is_judged_half_as_strictly() -> None:
    edge = next(
        ms for ms in range(1000, 3000, 10)
        if decide(a_request(slo_e2e_ms=ms), a_view()).candidates[0].probability > 0.91
    )  # fmt: skip
    assert selected(decide(a_request(slo_e2e_ms=edge), a_view())) is None
    returning = a_request(slo_e2e_ms=edge, is_returning=True)
    assert selected(decide(returning, a_view())) == "small"


def test_a_middling_better_tier_is_insured_when_the_class_says_so() -> None:
    edge = next(
        ms for ms in range(1000, 9000, 10)
        if decide(a_request(slo_e2e_ms=ms), a_large_view()).candidates[0].probability > 0.8
    )  # fmt: skip
    insured = decide(a_request(slo=Slo(e2e_ms=edge, is_insured=True)))
    assert selected(insured) == "small"
    assert insured.insured is not None and insured.insured.tier == "large"
    assert decide(a_request(slo_e2e_ms=edge)).insured is None


def test_a_tier_kept_out_by_its_load_is_named_as_wanted() -> None:
    decision = decide(a_request(slo_e2e_ms=6000), a_view(), a_large_view(load=busy()))
    assert decision.wanted is not None and decision.wanted.tier == "large"
    assert decision.is_degraded_for_capacity


def test_what_a_tier_was_believed_to_do_is_not_changed_by_later_replies() -> None:
    # Given a decision in which the small tier was not even asked
    lengths = OutputLengths(100)
    views = a_view(lengths=lengths), a_large_view()
    request = a_request(slo_e2e_ms=60_000, max_tokens=None, is_length_fixed=False)
    decision, again = decide(request, *views), decide(request, *views)
    believed = [candidate.output_tokens for candidate in again.candidates]
    # When many long replies follow
    for _ in range(100):
        lengths.observe(LengthQuery("default", 512, None, 1, 4000), 3000)
    # Then it is explained by what was known then
    assert [candidate.output_tokens for candidate in decision.candidates] == believed
    assert decide(request, *views).candidates[0].output_tokens > 2 * believed[0]
