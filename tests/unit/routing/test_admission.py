"""Admission: what a refused caller is told, and that it is true."""

from dataclasses import replace

import pytest

from serve_app.errors import (
    ContextWindowExceeded,
    InvalidRequest,
    Saturated,
    SloInfeasible,
    Unavailable,
)
from serve_app.routing.admission import admit, drains_after_s
from serve_app.routing.candidate import Candidate
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.ledger import Ledger, Work
from serve_app.routing.policy import choose
from serve_app.routing.types import RoutingRequest, Slo, TierView
from tests.unit.builders import a_large_view, a_request, a_view, busy
from tests.unit.routing.test_state import a_state


def admitted(request: RoutingRequest, *views: TierView) -> Candidate:
    views = views or (a_view(), a_large_view())
    decision = choose(request, views, objective="best_quality_within_slo")
    return admit(decision, max_outstanding_s=60.0, retry_after_s={})


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


def test_retry_after_is_when_enough_has_drained() -> None:
    # Given sixteen replies that end one second apart, and a request that ten of them keep out
    ledger = Ledger()
    for second in range(16):
        ledger.start(str(second), Work(10, 1, 0.0, 1.0 + second), now=0.0)
    request = a_request(slo_e2e_ms=1400)
    load = ledger.load(replicas=1, max_num_seqs=16, now=0.5)
    view = a_view(load=load)
    # When it is asked when to come back
    seconds = drains_after_s(request, view, ledger, promised=0.0, replicas=1, now=0.5)
    # Then it is the end of as many as must go, neither at once nor when all have gone
    assert 1.0 < seconds < 15.0


def test_a_caller_who_comes_back_finds_his_place() -> None:
    # Given a tier full of promises
    state = a_state()
    chooser = Chooser({"small": state}, objective="best_quality_within_slo", max_outstanding_s=60)
    request = RoutingRequest({"small": 512}, Slo(e2e_ms=3000), max_tokens=100, is_length_fixed=True)
    state.ledger.start("earlier", Work(512, 1, 0.1, 1.0), now=0.0)
    state.ledger.finish("earlier", replicas=1, now=1.0)
    for _ in range(100):
        state.promises.promise(5.0, now=1.0)
        state.promises.promise(5.5, now=1.0)
        chooser.returned(now=4.9)
    # Then a newcomer is refused with a time, and a caller who returns is served
    with pytest.raises(Saturated) as refusal:
        chooser.admit(request, chooser.decide(request, now=4.9), now=4.9)
    assert refusal.value.tier == "small"
    returning = replace(request, is_returning=True)
    assert chooser.admit(returning, chooser.decide(returning, now=5.0), now=5.0).is_feasible
