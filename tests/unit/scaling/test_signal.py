"""What the router says of its tiers, from decisions to the controller."""

import pytest

from serve_app.config import ScalingConfig
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.demand import Demand
from serve_app.routing.live.facts import EngineFacts
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest, Slo
from serve_app.scaling.board import Board
from serve_app.scaling.metrics import as_metrics, summed
from tests.unit.builders import SLOW
from tests.unit.routing.test_state import a_state
from tests.unit.scaling.builders import a_fleet, a_scaler, a_signal, steady


def two_states(*, large_replicas: int = 1) -> dict[str, TierState]:
    large = a_state(EngineFacts(SLOW, 4096, 16, "large"), tier="large", quality=2.0)
    large.num_replicas = large_replicas
    return {"small": a_state(), "large": large}


def asked(states: dict[str, TierState], count: int, **changes: object) -> None:
    """So many requests of 100 tokens, all at once."""
    chooser = Chooser(states, objective="best_quality_within_slo", max_outstanding_s=60)
    fields = {"slo": Slo(e2e_ms=8000, on_infeasible=("degrade",)), "max_tokens": 100} | changes
    request = RoutingRequest(dict.fromkeys(states, 100), is_length_fixed=True, **fields)  # type: ignore[arg-type]
    for number in range(count):
        decision = chooser.decide(request, now=0.0)
        chooser.wanted(request, decision, now=0.0)
        if decision.selected is not None:
            chooser.start(str(number), request, decision.selected, now=0.0)


def test_requests_that_a_tier_has_no_room_for_are_told_as_kept_out() -> None:
    # Given more requests than the large tier can answer in time
    states = two_states()
    asked(states, 60, slo=Slo(e2e_ms=5500, on_infeasible=("degrade",)))
    # Then it says how many fit, and that others wanted it
    large = states["large"].signal(now=1.0)
    assert 0 < large.outstanding < 60
    assert large.kept_out > 0
    assert large.fits < 16
    assert states["small"].signal(now=1.0).outstanding > 0


def test_a_tier_with_room_keeps_nobody_out() -> None:
    states = two_states()
    asked(states, 2)
    assert states["large"].signal(now=1.0) == a_signal(outstanding=2.0, fits=16.0)
    assert states["small"].signal(now=1.0).is_idle


def test_a_sleeping_tier_is_wanted_by_those_it_would_serve_best() -> None:
    states = two_states(large_replicas=0)
    asked(states, 2)
    assert states["large"].signal(now=1.0).kept_out > 0
    assert states["small"].signal(now=1.0).outstanding > 0


def test_of_a_tier_that_never_ran_one_replica_is_wanted_however_many_ask() -> None:
    # Given a tier that nobody has heard of yet, and a crowd
    states = two_states() | {"large": a_state(None, tier="large", quality=2.0)}
    states["large"].num_replicas = 0
    asked(states, 100)
    # Then what it is said to hold is enough for one
    signal = states["large"].signal(now=1.0)
    assert steady(a_scaler(), signal, a_fleet(0), seconds=1) == 1
    assert steady(a_scaler(), signal, a_fleet(1, running=0)) == 1


def test_a_sleeping_tier_is_not_wanted_for_what_it_could_never_do_in_time() -> None:
    states = two_states(large_replicas=0)
    asked(states, 2, slo=Slo(e2e_ms=2000, on_infeasible=("degrade",)))
    assert states["large"].signal(now=1.0).is_idle


def test_a_sleeping_tier_is_wanted_by_who_names_it() -> None:
    states = two_states(large_replicas=0)
    asked(states, 1, slo=Slo(e2e_ms=2000), pinned_tier="large")
    assert states["large"].signal(now=1.0).kept_out > 0


def test_a_demand_is_over_after_ten_seconds() -> None:
    demand = Demand()
    demand.kept_out(5.0, None, now=100.2)
    assert demand.signal(0, 16, now=109.9).kept_out == pytest.approx(0.5)
    assert demand.signal(0, 16, now=110.0).is_idle


def test_all_routers_count_together() -> None:
    # Given what two routers say of the same tier
    said = [as_metrics({"large": a_signal(3.0, 1.0, 8.0)}), as_metrics({"large": a_signal(5.0)})]
    metrics = {name: {"a": said[0][name], "b": said[1][name]} for name in said[0]}
    # Then their requests add up, and what fits is in between
    assert summed(metrics, "large") == a_signal(8.0, 1.0, 9.0)
    assert summed(metrics, "small") is None


def test_the_controller_shares_the_budget_among_tiers_it_asks_one_by_one() -> None:
    # Given a board on which routers said that both tiers are short
    config = ScalingConfig(accelerators=4, target_fill=1.0)
    said = as_metrics({"small": a_signal(100.0), "large": a_signal(100.0)})
    board = Board(metrics={name: {"router": value} for name, value in said.items()})
    # When Serve asks for one and for the other
    board.replicas("small", a_fleet(1), config, now=0.0)
    large = board.replicas("large", a_fleet(1), config, now=0.0)
    small = board.replicas("small", a_fleet(1, target=1), config, now=0.1)
    # Then neither takes the whole
    assert (small, large) == (2, 2)


def test_objectives_that_suffer_from_the_load_lower_what_fits() -> None:
    # Given callers who take the likeliest tier, and of whom each makes it less likely for the next
    states = {"large": two_states()["large"]}
    asked(states, 12, slo=Slo(e2e_ms=4800, on_infeasible=("degrade",)))
    # Then fewer fit than there are slots
    assert states["large"].signal(now=1.0).fits < 16
