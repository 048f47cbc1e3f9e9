"""The simulated engine beside 94 measurements of Llama-2-70B."""

from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.simulator.timing import EngineTiming
from serve_app.simulator.validation.fitting import fit, read_measurements, simulate
from serve_app.simulator.validation.measured import between_sizes

MEASUREMENTS = read_measurements(Path(__file__).parents[2] / "data/llama2_70b_fp16_latency.csv")


def test_a_fit_predicts_sizes_it_never_saw_within_ten_percent() -> None:
    errors = between_sizes(MEASUREMENTS)
    assert errors.count == 24
    assert errors.prefill < 0.10
    assert errors.step < 0.06
    assert errors.e2e < 0.04


def test_a_fit_to_what_a_known_timing_did_does_the_same() -> None:
    # Given the sizes of one machine, measured on an engine whose timing is known
    known = EngineTiming(0.03, 2e-4, 2e-7, 5e-9, sequence_s=2e-4, prefill_s=0.01)
    measurements = [
        replace(measured, prefill_s=did.prefill_s, step_s=did.step_s, e2e_s=did.e2e_s)
        for measured in MEASUREMENTS
        if measured.machine == "a100-80gb x 4" and measured.output_tokens == 128
        for did in [simulate(known, measured)]
    ]
    # When a timing is fitted to them
    timing = fit(measurements)
    # Then it gives the same times
    for measured in measurements:
        assert simulate(timing, measured).prefill_s == pytest.approx(measured.prefill_s, rel=0.01)
        assert simulate(timing, measured).e2e_s == pytest.approx(measured.e2e_s, rel=0.01)
