"""How many replicas a tier should have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.scaling.budget import TierFleet, within
from serve_app.scaling.start_times import StartTimes
from tests.unit.scaling.builders import a_fleet, a_scaler, a_signal, steady


@pytest.mark.parametrize(("outstanding", "kept_out"), [(25.0, 0.0), (5.0, 20.0)])
def test_those_kept_out_count_like_those_in_flight(outstanding: float, kept_out: float) -> None:
    assert steady(a_scaler(), a_signal(outstanding, kept_out), a_fleet(1)) == 3


def test_the_target_fill_leaves_room() -> None:
    assert steady(a_scaler(target_fill=0.5), a_signal(25.0), a_fleet(1)) == 5


def test_a_growing_load_is_met_a_cold_start_ahead() -> None:
    # Given a load that grows by one sequence in two seconds, and slow starts
    quick, slow = a_scaler(cold_start_s=0), a_scaler(cold_start_s=60)
    # When it has reached 150
    for second in range(300):
        signals, fleets = {"large": a_signal(second / 2)}, {"large": a_fleet(1, most=99)}
        at_once = quick.replicas(signals, fleets, now=float(second))["large"]
        ahead = slow.replicas(signals, fleets, now=float(second))["large"]
    # Then the slow starter asks for what it will be a minute from now
    assert at_once == pytest.approx(15, abs=1)
    assert ahead == pytest.approx(18, abs=1)


def test_a_load_on_the_edge_keeps_the_replicas_it_has() -> None:
    signal = a_signal(19.0)
    assert steady(a_scaler(), signal, a_fleet(2)) == 2
    assert steady(a_scaler(), signal, a_fleet(3)) == 3
    assert steady(a_scaler(), a_signal(14.0), a_fleet(3)) == 2


def test_the_last_replica_stays_while_anybody_wants_it() -> None:
    assert steady(a_scaler(), a_signal(0.001), a_fleet(1)) == 1
    assert steady(a_scaler(), a_signal(), a_fleet(1)) == 0


def test_the_first_request_that_is_kept_out_wakes_a_tier() -> None:
    assert steady(a_scaler(), a_signal(kept_out=0.001), a_fleet(0), seconds=1) == 1


def test_a_tier_that_sleeps_is_not_woken_by_what_is_over() -> None:
    # Given a tier that was busy until just now
    scaler = a_scaler()
    steady(scaler, a_signal(50.0), a_fleet(1), seconds=60)
    # When nobody wants it any more and its last replica is gone
    wanted = scaler.replicas({"large": a_signal()}, {"large": a_fleet(0)}, now=61.0)
    # Then it goes on sleeping
    assert wanted == {"large": 0}


def test_a_replica_that_is_starting_is_not_given_up() -> None:
    assert steady(a_scaler(), a_signal(), a_fleet(1, running=0)) == 1


def test_a_replica_that_finds_no_place_keeps_no_others() -> None:
    assert steady(a_scaler(), a_signal(5.0), a_fleet(4, running=3)) == 1


def test_a_tier_of_which_nothing_is_heard_keeps_its_replicas() -> None:
    assert a_scaler().replicas({}, {"large": a_fleet(3)}, now=0.0) == {"large": 3}


def test_start_times_are_learned_from_orders_that_were_filled() -> None:
    # Given two replicas ordered ten seconds apart
    starts = StartTimes(assumed_s=60.0)
    starts.look(1, 1, now=0.0)
    starts.look(1, 2, now=10.0)
    starts.look(1, 3, now=20.0)
    # When they serve forty seconds after their orders
    starts.look(2, 3, now=50.0)
    starts.look(3, 3, now=60.0)
    # Then that is what the tier takes
    assert starts.usual_s == pytest.approx(40.0)


def test_an_order_that_was_taken_back_teaches_nothing() -> None:
    starts = StartTimes(assumed_s=60.0)
    starts.look(1, 1, now=0.0)
    starts.look(1, 2, now=10.0)
    starts.look(1, 1, now=20.0)
    starts.look(2, 2, now=900.0)
    assert starts.usual_s == 60.0


def test_a_short_budget_is_shared_by_what_each_wants() -> None:
    fleets = {"small": a_fleet(1), "large": a_fleet(1, accelerators=2)}
    assert within(9, {"small": 6, "large": 6}, fleets) == {"small": 3, "large": 3}


def test_nobody_grows_into_what_another_tier_still_holds() -> None:
    # Given two tiers on four accelerators, of which the small one holds three
    fleets = {"small": a_fleet(3), "large": a_fleet(1)}
    # When the large one wants as many as the small one
    given = within(4, {"small": 3, "large": 3}, fleets)
    # Then the small one gives one back first
    assert given == {"small": 2, "large": 1}


FLEETS = st.builds(
    TierFleet, running=st.integers(0, 5), target=st.integers(0, 5), least=st.just(0),
    most=st.just(9), accelerators=st.integers(1, 4),
)  # fmt: skip


@given(st.integers(1, 40), st.lists(st.tuples(FLEETS, st.integers(0, 9)), min_size=1, max_size=4))
def test_a_budget_is_never_overdrawn_by_growth(
    budget: int, tiers: list[tuple[TierFleet, int]]
) -> None:
    fleets = {str(number): fleet for number, (fleet, _) in enumerate(tiers)}
    wanted = {str(number): count for number, (_, count) in enumerate(tiers)}
    given_out = within(budget, wanted, fleets)
    held = sum(fleet.accelerators * fleet.target for fleet in fleets.values())
    used = sum(fleets[t].accelerators * max(n, fleets[t].target) for t, n in given_out.items())
    assert used <= max(budget, held)
    assert all(given_out[tier] <= wanted[tier] for tier in wanted)
