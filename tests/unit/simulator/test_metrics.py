"""What a run was worth, and how sure that is."""

import random

import pytest

from serve_app.simulator.metrics.intervals import difference, interval
from serve_app.simulator.metrics.score import Score, Scorer, jain
from serve_app.simulator.requests import Result
from tests.unit.simulator.settings import an_arrival

QUALITY = {"small": {"default": 1.0}, "large": {"default": 2.0}}


def ended(
    at_s: float, e2e_s: float | None, tier: str = "small", *, prompt_tokens: int = 100
) -> Result:
    """Served after so many seconds, or refused."""
    result = Result(an_arrival(at_s, prompt_tokens=prompt_tokens), last_asked_at_s=at_s)
    if e2e_s is not None:
        result.tier, result.sent_at_s, result.finished_at_s = tier, at_s, at_s + e2e_s
    return result


def scored(*results: Result, since_s: float = 0.0, usd: float = 1.0) -> Score:
    scorer = Scorer(since_s, QUALITY)
    for result in results:
        scorer.add(result)
    return scorer.score(usd=usd, best_tier="large", clairvoyant=10.0)


def test_who_was_refused_or_late_counts_as_offered_and_not_as_good() -> None:
    score = scored(ended(0.0, 1.0), ended(1.0, 6.0), ended(2.0, None), ended(10.0, 1.0, "large"))
    assert (score.offered, score.attainment, score.accept_rate) == (4, 0.5, 0.75)
    assert score.goodput_rps == pytest.approx(0.2)
    assert score.quality_goodput == pytest.approx(0.3)
    assert score.regret == pytest.approx(0.7)


def test_who_came_before_the_scored_part_teaches_only() -> None:
    score = scored(ended(0.0, 9.0), ended(5.0, 1.0), ended(10.0, 1.0), since_s=5.0)
    assert (score.offered, score.attainment) == (2, 1.0)
    assert score.goodput_rps == pytest.approx(0.4)


def test_only_tokens_that_came_in_time_share_the_cost() -> None:
    # Given 200 tokens in time and 200 late, for one dollar
    score = scored(ended(0.0, 1.0), ended(1.0, 9.0), usd=1.0)
    assert score.usd_per_1k_good_tokens == pytest.approx(5.0)
    assert scored(ended(0.0, 9.0)).usd_per_1k_good_tokens is None


def test_fairness_compares_groups_of_prompts() -> None:
    score = scored(ended(0.0, 1.0, prompt_tokens=100), ended(1.0, None, prompt_tokens=3000))
    assert score.attainment_by_group == {"prompts above 2048": 0.0, "prompts up to 512": 1.0}
    assert score.fairness == pytest.approx(0.5)


def test_jain_is_one_for_equals_and_one_nth_when_one_has_all() -> None:
    assert jain([0.3, 0.3, 0.3]) == pytest.approx(1.0)
    assert jain([0.9, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_a_bootstrap_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    draw, held = random.Random(1), 0
    for _ in range(60):
        low, high = interval([draw.gauss(5.0, 1.0) for _ in range(12)])
        held += low <= 5.0 <= high
    assert 50 <= held <= 60


def test_pairs_tell_apart_what_intervals_of_each_do_not() -> None:
    # Given traffic that differs much from seed to seed, and one policy that is always ahead
    theirs = [float(seed) for seed in range(10)]
    ours = [value + 0.1 for value in theirs]
    assert interval(ours)[0] < interval(theirs)[1]
    assert difference(ours, theirs) == pytest.approx((0.1, 0.1))
