"""What the router learns: speed, spread, lengths, load."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.routing.calibration import Calibrator, Correction
from serve_app.routing.latency import ReplyTime, predict
from serve_app.routing.ledger import Ledger
from serve_app.routing.lengths import OutputLengths, expected_output_tokens
from tests.unit.builders import FAST, a_request, busy


def test_a_tier_that_is_always_slower_than_predicted_is_believed() -> None:
    # Given fifty replies that took twice the predicted time
    calibrator = Calibrator(is_measured=True)
    for _ in range(50):
        calibrator.observe(predicted_s=10.0, actual_s=20.0)
    # Then the correction doubles the prediction
    assert calibrator.correction().factor == pytest.approx(2.0, rel=0.05)


def test_the_spread_follows_the_noise_of_the_machine() -> None:
    calibrator = Calibrator(is_measured=True)
    noise = random.Random(1)
    for _ in range(400):
        calibrator.observe(predicted_s=1.0, actual_s=noise.lognormvariate(0.0, 0.3))
    assert calibrator.correction().log_spread == pytest.approx(0.3, rel=0.35)


def test_a_few_milliseconds_on_a_tiny_reply_say_nothing_of_the_speed() -> None:
    calibrator = Calibrator(is_measured=True)
    for _ in range(50):
        calibrator.observe(predicted_s=0.02, actual_s=0.04)
    correction = calibrator.correction()
    assert correction.factor < 1.2
    assert correction.log_spread < 0.12


def test_a_reply_without_duration_teaches_nothing() -> None:
    calibrator = Calibrator(is_measured=True)
    calibrator.observe(predicted_s=1.0, actual_s=0.0)
    assert calibrator.correction().observations == 0


@given(predicted=st.floats(0.001, 100), probability=st.floats(0.01, 0.99))
def test_probability_and_bound_are_inverse(predicted: float, probability: float) -> None:
    correction = Correction(0.0, 0.2, 10)
    bound = correction.bound_s(predicted, probability)
    assert correction.probability(predicted, bound) == pytest.approx(probability, abs=1e-6)


def test_whole_reply_is_wait_prefill_and_steps() -> None:
    time = predict(
        FAST, busy(3, 1000, 0.5), prompt_tokens=100, output_tokens=11, sequences=1,
        max_num_seqs=16,
    )  # fmt: skip
    assert time.wait_s == pytest.approx(0.5 + 1000 * 1e-4)
    assert time.prefill_s == pytest.approx(0.02 + 100 * 1e-4)
    assert time.e2e_s == pytest.approx(time.ttft_s + 10 * (0.01 + 4 * 1e-4))


def test_expected_length_is_the_callers_guess_within_every_limit() -> None:
    request = a_request(max_tokens=50, expected_output_tokens=80, is_length_fixed=False)
    assert expected_output_tokens(request, mean_tokens=10, context_left=1000) == 50
    assert expected_output_tokens(request, mean_tokens=10, context_left=30) == 30


def test_expected_length_without_a_guess_is_the_mean_raised_to_min_tokens() -> None:
    request = a_request(max_tokens=None, is_length_fixed=False, min_tokens=25)
    assert expected_output_tokens(request, mean_tokens=10, context_left=1000) == 25


def test_mean_length_forgets_the_configured_guess() -> None:
    lengths = OutputLengths(default_tokens=1000)
    for _ in range(200):
        lengths.observe(20)
    assert lengths.mean_tokens == pytest.approx(20, abs=2)


def test_replies_cut_by_max_tokens_do_not_shorten_the_mean() -> None:
    lengths = OutputLengths(default_tokens=100)
    for _ in range(200):
        lengths.observe(1, is_cut=True)
    assert lengths.mean_tokens == 100


def test_longer_replies_lengthen_the_mean_even_when_cut() -> None:
    lengths = OutputLengths(default_tokens=100)
    lengths.observe(1000, is_cut=True)
    assert lengths.mean_tokens > 100


def test_a_full_tier_waits_for_its_first_finish() -> None:
    # Given two slots, taken until second 4 and second 9
    ledger = Ledger()
    for name, e2e_s in (("a", 4.0), ("b", 9.0)):
        time = ReplyTime(0.0, e2e_s, 0.0, 1)
        ledger.start(name, time, prompt_tokens=10, sequences=1, now=0.0)
    # When a third request asks at second 1
    load = ledger.load(replicas=1, max_num_seqs=2, now=1.0)
    # Then it waits three seconds
    assert load.slot_wait_s == pytest.approx(3.0)


def test_a_finished_request_leaves_no_load() -> None:
    ledger = Ledger()
    ledger.start("a", ReplyTime(0, 1, 0, 1), prompt_tokens=10, sequences=1, now=0.0)
    ledger.finish("a")
    assert ledger.load(replicas=1, max_num_seqs=1, now=0.0).sequences == 0


def test_other_routers_load_counts_and_fades() -> None:
    ledger = Ledger()
    ledger.report({"replica": "x", "running": 8, "waiting": 0, "queued_tokens": 0}, now=0.0)
    assert ledger.load(replicas=1, max_num_seqs=16, now=0.0).sequences == 8
    assert ledger.load(replicas=1, max_num_seqs=16, now=2.5).sequences == pytest.approx(4)
    assert ledger.load(replicas=1, max_num_seqs=16, now=6.0).sequences == 0
