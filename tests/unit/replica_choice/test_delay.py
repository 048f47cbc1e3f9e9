"""Work in hand, and what a call loses among the calls that are there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.work import WorkInHand, predicted_work_s
from serve_app.replica_choice.delay import delay_s
from tests.unit.replica_choice.builders import an_engine_call


def test_running_work_shrinks_as_time_passes_and_waiting_work_does_not() -> None:
    work = WorkInHand(slots=1)
    work.add("runs", 10.0, now=0.0)
    work.add("waits", 5.0, now=0.0)
    assert work.left_s(now=4.0) == pytest.approx(6.0 + 5.0)


def test_the_longest_waiting_call_takes_a_slot_that_becomes_free() -> None:
    work = WorkInHand(slots=1)
    work.add("runs", 10.0, now=0.0)
    work.add("waits", 5.0, now=0.0)
    work.remove("runs", now=2.0)
    assert work.left_s(now=3.0) == pytest.approx(4.0)


def test_a_call_that_outlasts_its_prediction_still_counts() -> None:
    work = WorkInHand(slots=1)
    work.add("r", 10.0, now=0.0)
    assert work.left_s(now=1000.0) > 0.0


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.booleans()), max_size=40), st.integers(1, 8))
def test_work_that_ended_leaves_nothing_behind(calls: list[tuple[float, bool]], slots: int) -> None:
    # Given calls, of which some end while others arrive
    work = WorkInHand(slots)
    for index, (work_s, ends_now) in enumerate(calls):
        work.add(index, work_s, now=float(index))
        assert work.left_s(now=float(index)) >= 0.0
        if ends_now:
            work.remove(index // 2, now=float(index))
    # When all have ended
    for index in range(len(calls)):
        work.remove(index, now=1000.0)
    # Then
    assert len(work) == 0
    assert work.left_s(now=1000.0) == 0.0


@given(st.floats(0.0, 1e6))
def test_broadcast_work_is_a_power_of_two_at_most_what_is_left(work_s: float) -> None:
    work = WorkInHand(slots=1)
    work.add("r", work_s, now=0.0)
    told = work.broadcast(now=0.0)
    assert told["calls"] == 1.0
    assert told["work_s"] <= work_s < max(1.0, 2.0 * told["work_s"])


def test_a_prediction_is_the_callers_own_or_by_the_lengths_in_the_body() -> None:
    predicted = an_engine_call(max_tokens=1)
    predicted["work_s"] = 7.0
    assert predicted_work_s(predicted) == 7.0
    short, long = an_engine_call(max_tokens=10), an_engine_call(max_tokens=1000)
    assert predicted_work_s(long) > 50 * predicted_work_s(short)
    assert predicted_work_s(an_engine_call()) == pytest.approx(1.0, abs=0.01)


def test_a_short_call_sees_how_many_calls_there_are_and_a_long_one_their_work() -> None:
    few_long, many_short = [20.0, 20.0], [1.0, 1.0, 1.0, 1.0]
    assert delay_s(few_long, slots=8, work_s=1.0) < delay_s(many_short, slots=8, work_s=1.0)
    assert delay_s(few_long, slots=8, work_s=20.0) > delay_s(many_short, slots=8, work_s=20.0)


def test_a_full_replica_costs_the_wait_for_a_slot() -> None:
    # Given two slots: one free after 3 s, taken for 4 s by the call that waits; the other after 5 s
    assert delay_s([3.0, 5.0, 4.0], slots=2, work_s=0.0) == pytest.approx(5.0)
    assert delay_s([3.0], slots=2, work_s=0.0) == 0.0


@given(st.lists(st.floats(0.0, 100.0), max_size=20), st.floats(0.0, 100.0), st.integers(1, 8))
def test_another_call_never_makes_the_delay_smaller(
    left: list[float], work_s: float, slots: int
) -> None:
    without = delay_s(left, slots, work_s)
    assert 0.0 <= without <= delay_s([*left, 10.0], slots, work_s) + 1e-9
