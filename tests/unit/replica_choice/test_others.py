"""What replicas say of other routers' calls, and how long that is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.replica_choice.others import Others, OthersLoad
from tests.unit.replica_choice.builders import a_call, a_chooser, a_load, delay_on, firsts


def test_what_is_ours_in_a_report_is_not_counted_twice() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("r", 10.0), now=0.0)
    chooser.report(a_load("a", 10.0), now=0.0)
    assert delay_on(chooser, "a", now=0.0) == pytest.approx(10.0)


def test_a_count_tells_of_calls_that_no_report_has_told_yet() -> None:
    # Given a report of one call of 10 s that is not ours
    chooser = a_chooser()
    chooser.report(a_load("a", 10.0), now=0.0)
    # When the replica accepts ours as its third
    chooser.sent("a", a_call("r", 5.0), now=0.1)
    chooser.counted("a", 3, now=0.1)
    # Then the other two are taken to be alike
    assert delay_on(chooser, "a", now=0.1) == pytest.approx(5.0 + 2 * 10.0)


def test_other_routers_work_is_avoided() -> None:
    chooser = a_chooser()
    chooser.report(a_load("a", 30.0), now=0.0)
    chooser.report(a_load("b", 1.0), now=0.0)
    chooser.report(a_load("c", 1.0), now=0.0)
    assert firsts(chooser, now=0.1)["a"] == 0


def test_an_old_report_fades_to_the_mean_and_never_to_idle() -> None:
    # Given an old report of a busy replica, and a fresh one of a less busy one
    others = Others()
    others.replied("a", OthersLoad(3.0, 30.0), now=0.0)
    others.replied("b", OthersLoad(1.0, 10.0), now=9.0)
    # When it ages, then it moves to the mean, which the fresh one dominates
    ages = [others.load("a", now).work_s for now in (0.0, 9.5, 100.0)]
    assert ages[0] > ages[1] > ages[2] >= 10.0
    assert others.load("b", now=100.0).work_s == ages[2]


def test_an_idle_report_that_is_old_is_not_believed() -> None:
    others = Others()
    others.replied("a", OthersLoad(0.0, 0.0), now=0.0)
    others.replied("b", OthersLoad(2.0, 20.0), now=11.0)
    assert others.load("a", now=12.0).work_s == pytest.approx(20.0)


def test_a_broadcast_stands_in_for_replies_until_one_comes() -> None:
    others = Others()
    others.broadcast("a", OthersLoad(2.0, 16.0))
    others.broadcast("b", OthersLoad(0.0, 0.0))
    assert others.load("a", now=0.0).work_s > others.load("b", now=0.0).work_s
    others.replied("a", OthersLoad(1.0, 2.0), now=0.0)
    assert others.load("a", now=0.0) == OthersLoad(1.0, 2.0)


@given(st.integers(0, 50), st.floats(0.0, 1000.0))
def test_others_are_taken_apart_without_losing_work(num_calls: int, work_s: float) -> None:
    left = OthersLoad(float(num_calls), work_s).left()
    assert len(left) == num_calls
    assert sum(left) == pytest.approx(work_s if num_calls else 0.0)


def test_a_replica_that_is_gone_is_forgotten() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("r", 10.0), now=0.0)
    chooser.keep({"b"})
    chooser.finished("r", "a", now=1.0)
    assert delay_on(chooser, "a", now=1.0) == 0.0
