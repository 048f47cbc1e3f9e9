"""What others choose by, and our own brain without one of its parts."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from serve_app.errors import ContextWindowExceeded, Saturated
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.lengths.reply import LengthQuery
from serve_app.routing.live.facts import Outcome
from serve_app.routing.live.ledger import Work
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest
from serve_app.simulator.fleet.members import LoadBoard
from serve_app.simulator.policies import blind, measured, ours, queues
from serve_app.simulator.policies.catalogue import ABLATIONS, NAMES, Tuned, router
from serve_app.simulator.policies.regression import (
    LinearQuantile,
    QuantileRegression,
    Sample,
    features,
    fit,
)
from serve_app.simulator.policies.rule import Rule, RulePolicy
from serve_app.simulator.world import Arrival
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

SETTING = a_setting()
BEST_FIRST = ("large", "small")
ASKED = an_arrival(0.0).asked


def asked(prompt_tokens: int, e2e_ms: float = 5000) -> RoutingRequest:
    return an_arrival(0.0, prompt_tokens=prompt_tokens, e2e_ms=e2e_ms).asked


def picks(rule: Rule, count: int = 400) -> list[str | None]:
    return [rule.pick(ASKED, 0.0) for _ in range(count)]


def teach(rule: Rule, tier: str, seconds: Sequence[float], prompt_tokens: int = 100) -> None:
    for number, e2e_s in enumerate(seconds):
        request_id, request = f"{tier}-{number}", asked(prompt_tokens)
        rule.sent(request_id, request, tier, 0.0)
        rule.ended(request_id, request, tier, Outcome(e2e_s, 100))


def a_busy_board(**waiting: int) -> LoadBoard:
    fleet = a_fleet(SETTING)
    for tier, count in waiting.items():
        for number in range(count):
            fleet.serving[tier][0].replica.submit(
                number, prompt_tokens=100, output_tokens=100, now=0.0
            )
    return LoadBoard(fleet)


def test_round_robin_and_random_share_by_replicas() -> None:
    replicas = ("small", "small", "small", "large")
    assert picks(blind.RoundRobin(replicas), 4) == list(replicas)
    drawn = picks(blind.Random(replicas, random.Random(1)))
    assert drawn.count("large") == pytest.approx(100, abs=30)


def test_a_prompt_threshold_looks_at_nothing_but_the_prompt() -> None:
    rule = blind.PromptLength(500, short="large", long="small")
    assert rule.pick(asked(500), 0.0) == "large"
    assert rule.pick(asked(501), 0.0) == "small"


def test_a_quality_threshold_sends_its_share_to_the_large_tier() -> None:
    rule = blind.QualityThreshold(0.25, small="small", large="large", randomness=random.Random(1))
    assert picks(rule).count("large") == pytest.approx(100, abs=30)


def test_the_least_queue_is_picked_whatever_tier_it_is() -> None:
    assert queues.LeastQueue(BEST_FIRST, a_busy_board(large=1)).pick(ASKED, 0.0) == "small"
    assert queues.LeastQueue(BEST_FIRST, a_busy_board(small=1)).pick(ASKED, 0.0) == "large"


def test_two_choices_never_take_the_longer_of_two_queues() -> None:
    rule = queues.PowerOfTwo(BEST_FIRST, a_busy_board(large=3), random.Random(1))
    assert set(picks(rule)) == {"small"}


def test_the_latest_percentile_takes_the_best_tier_that_was_in_time() -> None:
    rule = measured.LatestPercentile(BEST_FIRST)
    teach(rule, "large", [1.0] * 90 + [9.0] * 10)
    teach(rule, "small", [1.0] * 100)
    assert rule.pick(ASKED, 10.0) == "small"
    # A minute later nothing is known of the large one, so it is tried again.
    assert rule.pick(ASKED, 69.5) == "large"


def test_the_histogram_mean_goes_by_the_bucket_of_the_prompt() -> None:
    rule = measured.HistogramMean(BEST_FIRST)
    teach(rule, "large", [9.0] * 5, prompt_tokens=100)
    teach(rule, "large", [2.0] * 5, prompt_tokens=2000)
    teach(rule, "small", [1.0] * 5)
    assert rule.pick(asked(100), 0.0) == "small"
    assert rule.pick(asked(2000), 0.0) == "large"


def test_a_fitted_quantile_is_exceeded_as_often_as_it_should_be() -> None:
    # Given replies whose time grows with the requests that run, and noise
    draw = random.Random(1)
    board = a_busy_board(small=3)
    load = board.of("small", 0.0)[0]
    samples = [
        Sample("small", features(prompt, load), prompt / 1000 + draw.random())
        for prompt in (draw.randrange(100, 2000) for _ in range(600))
    ]
    # When it is fitted
    model = fit(samples)["small"]
    # Then a tenth of them took longer
    late = sum(sample.e2e_s > model.e2e_s(sample.features) for sample in samples)
    assert late / len(samples) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(("sheds", "picked"), [(False, "small"), (True, None)])
def test_the_regression_takes_what_has_headroom_and_sheds_when_it_may(
    sheds: bool, picked: str | None
) -> None:
    def rule(large_s: float, small_s: float) -> QuantileRegression:
        zeros = (0.0,) * 14
        models = {
            "large": LinearQuantile(large_s, zeros),
            "small": LinearQuantile(small_s, zeros),
        }
        return QuantileRegression(BEST_FIRST, models, a_busy_board(), sheds=sheds)

    assert rule(4.0, 1.0).pick(ASKED, 0.0) == "large"
    assert rule(6.0, 1.0).pick(ASKED, 0.0) == "small"
    assert rule(7.0, 6.0).pick(ASKED, 0.0) == picked


def test_a_prompt_goes_where_it_fits_and_is_refused_where_it_fits_nowhere() -> None:
    tiers = (
        a_tier("small", SMALL, 1.0, context_tokens=1000),
        a_tier("large", LARGE, 2.0, context_tokens=2000),
    )
    policy = RulePolicy(blind.Always("small"), tiers, ASKED.slo)
    assert policy.decide(asked(1500), now=0.0).selected.tier == "large"  # type: ignore[union-attr]
    with pytest.raises(ContextWindowExceeded):
        policy.admit(asked(2000), policy.decide(asked(2000), now=0.0), now=0.0)


def test_a_rule_that_picks_nothing_refuses() -> None:
    class Refuses(blind.Unlearning):
        def pick(self, request: RoutingRequest, now: float) -> str | None:
            return None

    policy = RulePolicy(Refuses(), SETTING.tiers, ASKED.slo)
    with pytest.raises(Saturated):
        policy.admit(ASKED, policy.decide(ASKED, now=0.0), now=0.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_answers_every_request_of_a_quiet_day(name: str) -> None:
    # Given what the tuned ones need
    quick = LinearQuantile(0.1, (0.0,) * 14)
    tuned = Tuned(prompt_limit=(50, True), regression={"small": quick, "large": quick})
    board = LoadBoard(a_fleet(SETTING))
    world = a_world(SETTING, router(name, SETTING, tuned, board, seed=1))
    # When a request comes every ten seconds, then all are served
    arrivals = [knowing(an_arrival(10.0 * number, 50)) for number in range(6)]
    assert all(result.is_served for result in played(world, arrivals))


def knowing(arrival: Arrival) -> Arrival:
    told = ours.knowing_the_length(arrival.asked, arrival.request.output_tokens)
    return Arrival(arrival.request, told)


@dataclass(frozen=True)
class Seen:
    """What a tier's state says after it was taught."""

    price: float
    mean_tokens: float
    num_groups: int
    speed_observations: int
    was_crowded: bool
    sequences: float


def after_teaching(kind: type[TierState]) -> Seen:
    """A large tier that was crowded out for a while, and whose replies were slow and long."""
    states = {tier.tier: tier.state(100, OutputLengths(100), kind) for tier in SETTING.tiers}
    state = states["large"]
    candidate = SETTING.tiers[1].candidate(ASKED.slo)
    query = LengthQuery("default", 100, None, 1, 4000)
    for _ in range(60):
        state.was_wanted(1.0, is_crowded=True)
        state.observe(candidate, query, Outcome(30.0, 1000), None, now=0.0)
    state.ledger.start("r", _work(), now=0.0)
    view = state.view(0.0)
    knowledge = state.calibrator.knowledge()
    return Seen(
        price=view.price.per_work_s,
        mean_tokens=view.lengths.reply(query).mean,
        num_groups=len(knowledge.offsets.by_group),
        speed_observations=knowledge.num_replies,
        was_crowded=view.was_crowded,
        sequences=view.load.sequences,
    )


def _work() -> Work:
    return Work(prompt_tokens=10, sequences=1, ttft_s=1.0, e2e_s=2.0)


WHOLE = after_teaching(TierState)
PARTS: dict[str, Callable[[Seen], float]] = {
    "ours-without-price": lambda seen: seen.price,
    "ours-without-calibration": lambda seen: seen.num_groups,
    "ours-without-learning": lambda seen: seen.speed_observations,
    "ours-without-lengths": lambda seen: max(0.0, seen.mean_tokens - 200),
    "ours-without-hysteresis": lambda seen: seen.was_crowded,
    "ours-without-load": lambda seen: seen.sequences,
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_takes_out_its_part_and_leaves_the_others(name: str) -> None:
    ablated = after_teaching(ABLATIONS[name])
    for part, of in PARTS.items():
        is_out = part == name or (name, part) == (
            "ours-without-learning", "ours-without-calibration"
        )  # fmt: skip
        assert of(WHOLE) > 0
        assert (of(ablated) == 0) == is_out, part
