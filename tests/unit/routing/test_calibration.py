"""What is learned of a tier's predictions, and that its probabilities are true."""

import math
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mapie.regression import SplitConformalRegressor
from sklearn.dummy import DummyRegressor

from serve_app.routing.forecasting.forecast import Forecast
from serve_app.routing.latency import ReplyTime
from serve_app.routing.learning.calibration import Calibrator
from serve_app.routing.learning.conformal import LEVELS, GroupCalibration, Recalibration, score_of
from serve_app.routing.learning.histogram import log_normal_shares
from serve_app.routing.lengths.reply import LengthDistribution, ReplyLength

RAW = ReplyTime(wait_s=0.0, prefill_s=0.1, step_s=0.02, batch=4.0)
ANY_LENGTH = LengthDistribution(log_normal_shares(200, 0.8))


def a_length(tokens: int | None = 100, sequences: int = 1) -> ReplyLength:
    """Of exactly `tokens`, or unknown when None."""
    if tokens is not None:
        return ReplyLength(ANY_LENGTH, tokens, tokens, sequences)
    return ReplyLength(ANY_LENGTH, 1, 4096, sequences)


def a_forecast(calibrator: Calibrator, tokens: int | None = 100, raw: ReplyTime = RAW) -> Forecast:
    return calibrator.forecast(raw, a_length(tokens), prompt_tokens=512)


def taught(calibrator: Calibrator, factor: float, times: int = 60, tokens: int = 100) -> None:
    for _ in range(times):
        actual_s = RAW.e2e_s(tokens) * factor
        calibrator.observe(a_forecast(calibrator, tokens), output_tokens=tokens, e2e_s=actual_s)


def test_a_tier_that_is_always_slower_than_predicted_is_believed() -> None:
    calibrator = Calibrator(is_measured=True)
    taught(calibrator, 2.0)
    assert a_forecast(calibrator).mean_e2e_s == pytest.approx(2 * RAW.e2e_s(100), rel=0.05)


def test_slow_prefill_and_slow_decode_are_told_apart() -> None:
    # Given an engine whose prefill takes thrice the prediction and whose steps are as predicted
    calibrator = Calibrator(is_measured=False)
    noise = random.Random(2)
    for _ in range(400):
        raw = ReplyTime(0.0, noise.uniform(0.05, 3.0), 0.02, 4.0)
        tokens = noise.randint(1, 300)
        actual_s = 3 * raw.prefill_s + (tokens - 1) * raw.step_s
        forecast = calibrator.forecast(raw, a_length(tokens), prompt_tokens=512)
        calibrator.observe(forecast, output_tokens=tokens, e2e_s=actual_s)
    # Then a long prompt with a short reply and the reverse are both predicted well
    for raw, tokens, actual_s in (
        (ReplyTime(0.0, 2.0, 0.02, 4.0), 2, 6.02),
        (ReplyTime(0.0, 0.05, 0.02, 4.0), 300, 6.13),
    ):
        assert a_forecast(calibrator, tokens, raw).mean_e2e_s == pytest.approx(actual_s, rel=0.1)


def test_a_machine_that_slows_down_widens_the_band_and_then_moves_it() -> None:
    calibrator = Calibrator(is_measured=True)
    taught(calibrator, 1.0, times=200)
    calm = calibrator.speed_error.spread
    errors = []
    for _ in range(15):
        taught(calibrator, 2.0, times=1)
        errors.append(calibrator.speed_error)
    assert max(error.spread for error in errors) > 1.5 * calm
    assert any(error.is_drifting for error in errors)
    taught(calibrator, 2.0, times=150)
    assert not calibrator.speed_error.is_drifting
    assert a_forecast(calibrator).mean_e2e_s == pytest.approx(2 * RAW.e2e_s(100), rel=0.08)


def test_one_wild_reply_does_not_blind_a_tier() -> None:
    calibrator = Calibrator(is_measured=True)
    taught(calibrator, 1.0, times=200)
    before = calibrator.speed_error.spread
    taught(calibrator, 50.0, times=1)
    assert calibrator.speed_error.spread < 1.5 * before


def test_a_cold_tier_is_honest_about_how_little_it_knows() -> None:
    table, measured = Calibrator(is_measured=False), Calibrator(is_measured=True)
    assert table.speed_error.observations == 0
    assert a_forecast(table).quantile_s(0.95) > a_forecast(measured).quantile_s(0.95)


def test_old_knowledge_goes_back_to_the_priors_band() -> None:
    calibrator = Calibrator(is_measured=False)
    taught(calibrator, 1.0, times=300)
    fresh = calibrator.forecast(RAW, a_length(), prompt_tokens=512)
    old = calibrator.forecast(RAW, a_length(), prompt_tokens=512, trust=0.1)
    assert old.e2e_error.spread > 2 * fresh.e2e_error.spread


def test_a_forecast_says_later_what_it_would_have_said_at_once() -> None:
    # Given two equal forecasts of which one is asked at once
    calibrator = Calibrator(is_measured=True)
    taught(calibrator, 1.5)
    asked, unasked = a_forecast(calibrator, None), a_forecast(calibrator, None)
    before = asked.probability(3.0), asked.mean_e2e_s, asked.quantile_s(0.95)
    # When the tier turns out to be much slower
    taught(calibrator, 4.0)
    # Then the other one still says the same
    assert (unasked.probability(3.0), unasked.mean_e2e_s, unasked.quantile_s(0.95)) == before


def test_first_tokens_are_learned_from_streams() -> None:
    calibrator = Calibrator(is_measured=True)
    for _ in range(100):
        forecast = a_forecast(calibrator)
        calibrator.observe(forecast, output_tokens=100, e2e_s=RAW.e2e_s(100), ttft_s=0.1)
    assert a_forecast(calibrator).ttft_probability(0.3) > 0.95
    assert a_forecast(calibrator).ttft_probability(0.05) < 0.3
    assert a_forecast(calibrator).tpot_probability(0.03) > 0.95


def test_a_reply_without_duration_teaches_nothing() -> None:
    calibrator = Calibrator(is_measured=True)
    calibrator.observe(a_forecast(calibrator), output_tokens=10, e2e_s=0.0)
    assert calibrator.speed_error.observations == 0


def test_a_timeout_far_beyond_the_bound_makes_the_tier_look_slower() -> None:
    calibrator = Calibrator(is_measured=True)
    before = a_forecast(calibrator).probability(3.0)
    for _ in range(20):
        calibrator.observe_cut_off(a_forecast(calibrator), elapsed_s=30.0)
    assert a_forecast(calibrator).probability(3.0) < before


def test_a_client_that_leaves_early_changes_nothing() -> None:
    calibrator = Calibrator(is_measured=True)
    before = a_forecast(calibrator).quantile_s(0.95)
    for _ in range(200):
        calibrator.observe_cut_off(a_forecast(calibrator), elapsed_s=0.05)
    assert a_forecast(calibrator).quantile_s(0.95) == pytest.approx(before, rel=0.02)


@given(probability=st.floats(0.02, 0.98), tokens=st.none() | st.integers(1, 4000))
def test_quantile_and_probability_are_inverse(probability: float, tokens: int | None) -> None:
    forecast = a_forecast(Calibrator(is_measured=False), tokens)
    limit_s = forecast.quantile_s(probability)
    assert forecast.probability(limit_s * 1.001) >= probability - 1e-3
    assert forecast.probability(limit_s * 0.999) <= probability + 2e-2


@given(
    limit=st.floats(0.0, 200.0), more=st.floats(1.0, 3.0), tokens=st.none() | st.integers(1, 999)
)
@example(limit=195.30018466685445, more=1.0465509719424995, tokens=None)
def test_probabilities_are_probabilities_and_grow_with_time(
    limit: float, more: float, tokens: int | None
) -> None:
    forecast = a_forecast(Calibrator(is_measured=False), tokens)
    assert 0.0 <= forecast.probability(limit) <= forecast.probability(limit * more) + 1e-15
    assert forecast.probability(limit * more) <= 1.0


@given(tokens=st.integers(1, 3000), longer=st.integers(0, 1000), limit=st.floats(0.1, 100))
def test_a_longer_reply_is_never_likelier(tokens: int, longer: int, limit: float) -> None:
    calibrator = Calibrator(is_measured=False)
    short, long = a_forecast(calibrator, tokens), a_forecast(calibrator, tokens + longer)
    assert long.probability(limit) <= short.probability(limit) + 1e-12


def test_more_replies_at_once_are_less_likely_to_be_all_in_time() -> None:
    calibrator = Calibrator(is_measured=True)
    one, four = (
        calibrator.forecast(RAW, a_length(None, sequences), prompt_tokens=512)
        for sequences in (1, 4)
    )
    assert four.probability(5.0) < one.probability(5.0)


def test_the_probability_agrees_with_drawing_lengths_and_errors() -> None:
    # Given a forecast with unknown length and a known error
    forecast = a_forecast(Calibrator(is_measured=False), tokens=None)
    shares, noise = forecast.length.distribution.shares, random.Random(3)
    tokens = [2 ** (i / 8) for i in range(len(shares))]
    drawn = noise.choices(tokens, shares, k=40_000)
    shift, spread = forecast.shift_s, forecast.e2e_error.spread
    times = [
        (forecast.time.e2e_s(min(4096, n)) + shift) * math.exp(noise.gauss(0, spread)) - shift
        for n in drawn
    ]
    # Then the share of draws within a limit is what it says
    for limit_s in (1.0, 3.0, 6.0, 15.0):
        share = sum(time <= limit_s for time in times) / len(times)
        assert forecast.stated_probability(limit_s) == pytest.approx(share, abs=0.012)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["shifted", "wide", "drift", "flip"]))
@example(seed=196, kind="shifted")
def test_coverage_is_reached_on_adversarial_streams(seed: int, kind: str) -> None:
    """Gibbs and Candes (2021), proposition 4.1: whatever the scores do, as long as bounded."""
    noise = random.Random(seed)
    groups, tracker = ("all", "load|1|0", "prompt|9", "length|8"), GroupCalibration()
    covered, count = 0, 6000
    for index in range(count):
        shift = {"shifted": 1.0, "wide": 0.0, "drift": index / 3000, "flip": (-1) ** (index // 200)}
        score = noise.gauss(shift[kind], 2.0 if kind == "wide" else 1.0)
        issued = tracker.offsets.recalibration(groups)
        covered += score <= issued.scores[LEVELS.index(0.95)]
        tracker.observe(groups, issued, max(-4.75, min(4.75, score)))
    assert covered / count == pytest.approx(0.95, abs=0.01)


def test_coverage_holds_within_each_group() -> None:
    # Given that predictions are right at low load and far too bold at high load
    noise, tracker = random.Random(5), GroupCalibration()
    covered: dict[str, list[bool]] = {"load|0": [], "load|4": []}
    for _ in range(8000):
        load = noise.choice(list(covered))
        issued = tracker.offsets.recalibration(("all", load))
        score = noise.gauss(0.0, 1.0) + (1.5 if load == "load|4" else 0.0)
        covered[load].append(score <= issued.scores[LEVELS.index(0.95)])
        tracker.observe(("all", load), issued, score)
    for hits in covered.values():
        assert sum(hits[2000:]) / len(hits[2000:]) == pytest.approx(0.95, abs=0.015)


@given(st.floats(0.001, 0.999))
def test_recalibration_and_its_inverse_cancel(probability: float) -> None:
    bold = Recalibration(tuple(score_of(level) + 0.7 for level in LEVELS))
    assert bold.true_probability(bold.stated_probability(probability)) == pytest.approx(
        probability, abs=1e-6
    )
    assert bold.true_probability(probability) <= probability + 1e-9


def test_mapie_agrees_on_the_same_errors() -> None:
    """Its split conformal interval and our central one, on exchangeable data, are the same."""
    # Given 3000 replies with heavy-tailed errors that no normal distribution describes
    noise, calibrator = np.random.default_rng(1), Calibrator(is_measured=True)
    errors = noise.laplace(0.0, 0.1, 3000)
    half_widths = []
    for error in errors:
        forecast = a_forecast(calibrator)
        quantiles = forecast.quantile_s(0.95), forecast.quantile_s(0.05)
        half_widths.append(math.log(quantiles[0] / quantiles[1]) / 2)
        actual_s = RAW.e2e_s(100) * math.exp(error)
        calibrator.observe(forecast, output_tokens=100, e2e_s=actual_s)
    # When mapie makes a 90 % interval around the same median from the same errors
    always_right = DummyRegressor(strategy="constant", constant=0.0).fit([[0.0]], [0.0])
    conformal = SplitConformalRegressor(always_right, confidence_level=0.9, prefit=True)
    conformal.conformalize(np.zeros((3000, 1)), errors)
    _, interval = conformal.predict_interval(np.zeros((1, 1)))
    # Then half its width is what half of ours was in the mean, once warm
    ours = sum(half_widths[1000:]) / 2000
    assert ours == pytest.approx(float(interval[0, 1, 0]), rel=0.08)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.integers(1, 500)), max_size=30))
def test_saved_and_restored_knowledge_is_the_same(
    observations: list[tuple[float, int]],
) -> None:
    calibrator, restored = Calibrator(is_measured=True), Calibrator(is_measured=True)
    for factor, tokens in observations:
        taught(calibrator, factor, times=1, tokens=tokens)
    restored.restore(calibrator.snapshot())
    assert restored.snapshot() == calibrator.snapshot()
    assert a_forecast(restored).quantile_s(0.95) == a_forecast(calibrator).quantile_s(0.95)
