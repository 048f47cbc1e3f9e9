"""Fleets, their check by simulation, and what they cost."""

from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.sizing.answer import Answer, as_document
from serve_app.sizing.capacity import capacity_of
from serve_app.sizing.cost import cost_of, hosted
from serve_app.sizing.fleets import FleetPlan, Part, fleets
from serve_app.sizing.prices import read_prices
from serve_app.sizing.trial import trials
from tests.unit.sizing.demands import ROUTER, a_demand, an_option

SMALL = an_option("small", quality=1.0, usd_per_hour=1.0)
CHEAP = an_option("cheap", quality=1.0, usd_per_hour=0.1)
LARGE = an_option("large", quality=2.0, usd_per_hour=4.0, step_s=0.02)


def test_the_cheapest_fleet_comes_first_and_carries_the_peak() -> None:
    demand = a_demand(rps=100.0, peak_factor=2.0)
    capacities = [capacity_of(LARGE, demand), capacity_of(SMALL, demand)]
    plan = fleets(capacities, demand, min_quality=None)[0]
    (part,) = plan.parts
    assert part.capacity.option is SMALL
    assert (part.replicas - 1) * part.capacity.rps < 200.0 <= part.replicas * part.capacity.rps


def test_a_quality_between_two_tiers_needs_both_in_the_share_that_reaches_it() -> None:
    demand = a_demand(rps=100.0)
    capacities = [capacity_of(SMALL, demand), capacity_of(LARGE, demand)]
    plans = fleets(capacities, demand, min_quality=1.25)
    assert [part.share for part in plans[0].parts] == [0.25, 0.75]
    assert plans[0].quality == pytest.approx(1.25)
    # And what the mix saves against the better tier alone is why it is there
    assert plans[0].usd_per_hour < plans[-1].usd_per_hour
    assert fleets(capacities, demand, min_quality=2.5) == []


def test_a_fleet_that_is_too_small_grows_until_the_simulation_is_in_time() -> None:
    # Given half of the replicas that the formula asks for
    demand = a_demand(rps=30.0)
    capacity = capacity_of(SMALL, demand)
    enough = fleets([capacity], demand, min_quality=None)[0].parts[0].replicas
    small = FleetPlan((Part(capacity, 1.0, max(1, enough // 2)),))
    # When it is checked
    done = trials([small], demand, ROUTER, min_quality=None, duration_s=6, seed=1)
    # Then the first is late, the last is not, and it has more replicas
    assert not done[0].is_met
    assert done[-1].is_met and done[-1].attainment >= demand.slo.attainment
    assert done[-1].plan.parts[0].replicas > small.parts[0].replicas


def test_a_fleet_that_became_too_dear_gives_way_to_the_next() -> None:
    # Given a cheap fleet that is much too small, and a sure one that costs a little more
    demand = a_demand(rps=30.0)
    capacity = capacity_of(SMALL, demand)
    tiny = FleetPlan((Part(capacity, 1.0, 1),))
    sure = FleetPlan((Part(replace(capacity, option=CHEAP), 1.0, 15),))
    # When both are checked
    done = trials([sure, tiny], demand, ROUTER, min_quality=None, duration_s=5, seed=1)
    # Then the tiny one is not grown beyond the other's price
    assert done[0].plan == tiny
    assert done[-1].is_met and done[-1].plan == sure


def test_the_same_seed_gives_the_same_trial() -> None:
    demand = a_demand(rps=10.0)
    plan = fleets([capacity_of(SMALL, demand)], demand, min_quality=None)[0]
    runs = [
        trials([plan], demand, ROUTER, min_quality=None, duration_s=5, seed=3) for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_cost_follows_the_formula_that_users_know() -> None:
    # Given 10 requests/s of 100 + 50 tokens by a fleet of 5.40 USD per hour
    cost = cost_of(5.4, a_demand(output_tokens=50), requests_per_s=10.0)
    # Then 5.4 million tokens per hour cost a dollar per million
    assert cost.per_1k_tokens == pytest.approx(0.001)
    assert cost.million_sentences == pytest.approx(100.0)
    assert cost.per_month == pytest.approx(5.4 * 730)


def test_hosted_apis_are_dated_and_priced_by_input_and_output() -> None:
    demand, prices = a_demand(output_tokens=50), read_prices()
    costs = {one.name: one for one in hosted(prices, demand)}
    assert all(one.price.as_of and one.price.source for one in costs.values())
    mini = costs["OpenAI gpt-4o-mini"].cost
    assert mini.per_1k_tokens == pytest.approx((100 * 0.15 + 50 * 0.60) / 150 / 1000)


def test_prices_of_a_file_go_over_the_shipped_ones_and_mistakes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("accelerators: {H100: {usd_per_hour: 2, as_of: '2026-11', source: mine}}")
    listed = read_prices(path).over(read_prices())
    assert listed.accelerators["H100"].usd_per_hour == 2
    assert "A6000" in listed.accelerators
    path.write_text("accelerators: {H100: {usd_per_hour: -2, as_of: '2026-11', source: mine}}")
    with pytest.raises(ValueError, match=r"accelerators\.H100\.usd_per_hour"):
        read_prices(path)


def test_what_is_impossible_is_refused_with_what_would_be_feasible() -> None:
    demand = a_demand(output_tokens=1000)
    capacities = [capacity_of(SMALL, demand), capacity_of(LARGE, demand)]
    answer = Answer(demand, "bot", None, capacities, [], [], [], [])
    assert not answer.is_met
    said = " ".join(answer.why_not())
    assert "even when idle" in said and "small on 1 x A6000, needs 11011 ms" in said
    assert as_document(answer)["fleet"] is None
