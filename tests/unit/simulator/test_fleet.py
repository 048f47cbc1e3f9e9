"""Replicas that are many, come, go and die, in a simulated world."""

from dataclasses import replace

import pytest

from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.live.state import TierState
from serve_app.simulator.experiment.scaling import Autoscaler, plan_failures
from serve_app.simulator.fleet.members import LoadBoard, ReplicaLoad
from serve_app.simulator.fleet.plans import Failure, Scaling
from serve_app.simulator.policies.blind import Always
from serve_app.simulator.policies.catalogue import as_router
from serve_app.simulator.policies.ours import Ears, ours
from tests.unit.simulator.settings import (
    LARGE,
    SMALL,
    a_fleet,
    a_setting,
    a_tier,
    a_world,
    an_arrival,
    played,
)

TWO_SMALL = a_setting(a_tier("small", SMALL, 1.0, replicas=2), a_tier("large", LARGE, 2.0))


def test_a_tier_gives_each_request_to_its_emptiest_replica() -> None:
    # Given two replicas of one slot each
    setting = a_setting(a_tier("small", SMALL, 1.0, replicas=2, max_num_seqs=1))
    world = a_world(setting, as_router(Always("small"), setting))
    # When two requests come at once, then neither waits for the other
    results = played(world, [an_arrival(0.0), an_arrival(0.0)])
    assert [result.e2e_s for result in results] == pytest.approx([1.0, 1.0], abs=0.02)


def test_every_replica_is_paid_for_whether_or_not_it_works() -> None:
    fleet = a_fleet(TWO_SMALL)
    # Three replicas at 3.60 USD an hour for 1000 s
    assert fleet.usd({"small": 3.6, "large": 3.6}, 0.0, 1000.0) == pytest.approx(3.0)


def test_a_replica_that_comes_to_a_slow_fleet_is_as_slow() -> None:
    fleet = a_fleet(TWO_SMALL)
    fleet.slow_down(2.0)
    assert fleet.add("small", ordered_at_s=0.0).replica.slowdown == 2.0


def test_a_load_report_is_seen_until_it_is_too_old() -> None:
    fleet = a_fleet(TWO_SMALL)
    board = LoadBoard(fleet, staleness_s=2.0)
    assert board.of("small", 0.0)[0].waiting == 0
    fleet.serving["small"][0].replica.submit(1, prompt_tokens=10, output_tokens=10, now=0.0)
    assert board.of("small", 1.9)[0].waiting == 0
    assert board.of("small", 2.0)[0].waiting == 1


def test_replicas_come_after_a_cold_start_that_is_paid_for_and_go_when_idle() -> None:
    # Given a tier that may grow to three replicas of two requests each
    scaling = Scaling(1, 3, 2, upscale_delay_s=5.0, downscale_delay_s=20.0, cold_start_s=30.0)
    setting = a_setting(a_tier("small", SMALL, 1.0, scaling=scaling))
    world = a_world(setting, as_router(Always("small"), setting))
    Autoscaler(world, "small", scaling).start(0.0)
    # When eight long requests come at once, and one straggler much later
    arrivals = [an_arrival(0.0, 4000) for _ in range(8)] + [an_arrival(200.0)]
    played(world, arrivals)
    # Then two replicas are ordered 5 s after the load was seen, and dismissed when it has gone
    first, *added = world.fleet.paid
    assert [member.started_at_s for member in added] == [6.0, 6.0]
    ended = [member.ended_at_s for member in (first, *added) if member.ended_at_s is not None]
    assert len(ended) == 2
    assert all(40.0 < at_s < 120.0 for at_s in ended)


def test_a_replica_that_dies_loses_what_it_had_and_another_takes_its_place() -> None:
    setting = a_setting(a_tier("small", SMALL, 1.0))
    world = a_world(setting, as_router(Always("small"), setting))
    plan_failures(world, [Failure("small", at_s=0.5, down_s=10.0)])
    lost, nowhere, served = played(world, [an_arrival(0.0), an_arrival(1.0), an_arrival(11.0)])
    assert not lost.is_served
    assert not nowhere.is_served
    assert served.is_slo_met


class Heard:
    """What a router is told."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, int]] = []

    def scaled(self, tier: str, num_replicas: int) -> None:
        return

    def reported(self, tier: str, replica: int, load: ReplicaLoad, *, now: float) -> None:
        self.reports.append((now, load.running))


def test_a_report_rides_on_a_reply_and_comes_as_late_as_is_said() -> None:
    # Given two requests of 1 and 2 s, and reports that take 3 s
    setting, heard = a_setting(), Heard()
    router = replace(as_router(Always("small"), setting), informed=heard)
    world = a_world(setting, router, router, report_delay_s=3.0)
    played(world, [an_arrival(0.0, 100), an_arrival(0.0, 200), an_arrival(9.0)])
    # Then the first tells of the second, 3 s after it ended
    (first_s, running), (second_s, idle), *_ = heard.reports
    assert (running, idle) == (1, 0)
    assert (first_s, second_s) == pytest.approx((4.0, 5.0), abs=0.05)


def test_a_router_sees_what_another_one_sends_by_the_replicas_reports() -> None:
    # Given two routers that take turns: the first has short requests, the second long ones
    setting = a_setting(a_tier("small", SMALL, 1.0))
    states = setting.tiers[0].state(100, OutputLengths(100))
    mine = replace(ours(setting.tiers, setting.brain, TierState), informed=Ears({"small": states}))
    other = as_router(Always("small"), setting)
    world = a_world(setting, mine, other)
    seen: list[float] = []
    world.at(1.5, lambda now: seen.append(states.view(now).load.sequences))
    # When a short reply has ended while a long one goes on
    played(world, [an_arrival(0.0, 100), an_arrival(0.0, 1000)])
    # Then it knows that somebody else is there
    assert 0.5 < seen[0] <= 1.0


def test_a_smaller_price_is_a_smaller_bill() -> None:
    fleet = a_fleet(replace(TWO_SMALL))
    assert fleet.usd({"small": 0.0, "large": 3.6}, 0.0, 1000.0) == pytest.approx(1.0)
