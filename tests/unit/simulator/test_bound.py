"""What a clairvoyant could do at most: greedy, exact, and played in the engines themselves."""

import random
from dataclasses import replace

import pytest

from serve_app.simulator.bound.exact import exact
from serve_app.simulator.bound.foresight import Foresight
from serve_app.simulator.bound.greedy import greedy
from serve_app.simulator.bound.work import Job, Option, jobs, least_work_s
from serve_app.simulator.policies.catalogue import as_router
from serve_app.simulator.policies.ours import knowing_the_length
from serve_app.simulator.requests import Arrival
from serve_app.simulator.timing import LLAMA_70B_AWQ_A100, ZEPHYR_7B_A6000
from serve_app.simulator.world import World
from tests.unit.simulator.settings import SMALL, a_fleet, a_setting, a_tier, an_arrival, played

ONE_OF_EACH = {"small": 1, "large": 1}
REAL = a_setting(
    a_tier("small", ZEPHYR_7B_A6000, 1.0, max_num_seqs=16),
    a_tier("large", LLAMA_70B_AWQ_A100, 1.5, max_num_seqs=16),
)


def some_jobs(seed: int, count: int = 25) -> list[Job]:
    """In one order of arrivals and deadlines; now and then a tier is no option."""
    draw, now, made = random.Random(seed), 0.0, []
    for _ in range(count):
        now += draw.expovariate(4.0)
        options = [
            Option(tier, draw.uniform(0.05, 1.0), quality)
            for tier, quality in (("small", 1.0), ("large", 1.5))
            if draw.random() < 0.9
        ]
        made.append(Job(now, now + 1.5, tuple(options)))
    return made


def some_arrivals(seed: int, count: int = 20) -> list[Arrival]:
    draw, now, made = random.Random(seed), 0.0, []
    for _ in range(count):
        now += draw.expovariate(2.0)
        prompt, output = draw.choice((100, 500, 2000)), draw.choice((20, 100, 300))
        arrival = an_arrival(now, output, prompt_tokens=prompt, e2e_ms=4000)
        made.append(replace(arrival, asked=knowing_the_length(arrival.asked, output)))
    return made


def test_a_single_request_takes_the_best_tier_that_can() -> None:
    job = Job(0.0, 1.0, (Option("small", 0.1, 1.0), Option("large", 0.5, 1.5)))
    for found in (greedy([job], ONE_OF_EACH), exact([job], ONE_OF_EACH)):
        assert [option and option.tier for option in found.chosen] == ["large"]


@pytest.mark.parametrize("seed", range(12))
def test_greedy_is_never_above_exact_and_never_far_below(seed: int) -> None:
    work = some_jobs(seed)
    most, reached = exact(work, ONE_OF_EACH).quality, greedy(work, ONE_OF_EACH).quality
    assert 0.85 * most <= reached <= most + 1e-6


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_an_assignment_is_no_more_work_than_there_is_time(replicas: int) -> None:
    work = some_jobs(1)
    for find in (greedy, exact):
        chosen = find(work, {"small": replicas, "large": replicas}).chosen
        for tier in ("small", "large"):
            total_s = sum(o.work_s for o in chosen if o is not None and o.tier == tier)
            assert total_s <= replicas * (work[-1].due_at_s - work[0].arrived_at_s) + 1e-6


@pytest.mark.parametrize("seed", range(6))
def test_no_engine_serves_more_than_the_exact_bound(seed: int) -> None:
    # Given what engines did in time, who were told all lengths and looked ahead
    arrivals = some_arrivals(seed)
    fleet = a_fleet(REAL)
    foresight = Foresight((REAL.tiers[1], REAL.tiers[0]), fleet)
    results = played(World(fleet, [as_router(foresight, REAL)]), arrivals)
    # When the bound is asked of the same requests, then it is no less
    reached = sum(1.5 if r.tier == "large" else 1.0 for r in results if r.is_slo_met)
    assert reached <= exact(jobs(arrivals, REAL.tiers), ONE_OF_EACH).quality + 1e-6


def test_the_least_work_is_the_whole_time_of_whoever_has_no_time_to_share() -> None:
    # Given 100 tokens of at least 10 ms each, alone or with others, and a prefill of 10 ms
    tier = a_tier("small", SMALL, 1.0)
    asked = an_arrival(0.0).asked
    # Then eight share a step where there is time, and nobody is served where there is none
    assert least_work_s(tier, asked, 101, 5.0) == pytest.approx(100 * 0.010 / 8)
    assert least_work_s(tier, asked, 101, 0.99) is None


def test_foresight_refuses_who_would_make_others_late() -> None:
    # Given one in the batch with no time to spare, whose step a long prompt would stretch
    setting = a_setting(a_tier("small", ZEPHYR_7B_A6000, 1.0, max_num_seqs=4))
    tight, long = an_arrival(0.0, 200, e2e_ms=6200), an_arrival(0.5, 10, prompt_tokens=3500)
    arrivals = [
        replace(a, asked=knowing_the_length(a.asked, a.request.output_tokens))
        for a in (tight, long)
    ]
    # When both come
    fleet = a_fleet(setting)
    foresight = Foresight(setting.tiers, fleet)
    first, second = played(World(fleet, [as_router(foresight, setting)]), arrivals)
    # Then the first is in time because the second is refused
    assert first.is_slo_met
    assert not second.is_served


def test_looking_ahead_changes_nothing() -> None:
    setting = a_setting(a_tier("small", ZEPHYR_7B_A6000, 1.0))
    engine = setting.tiers[0].replica(1)
    other = setting.tiers[0].replica(1)
    for replica in (engine, other):
        replica.submit("a", prompt_tokens=100, output_tokens=200, now=0.0)
        replica.advance(0.5)
    engine.foresight().advance(float("inf"))
    assert engine.advance(9.0) == other.advance(9.0)
