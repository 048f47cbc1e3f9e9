import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.check.tier.models import find_shape
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.speed.accelerators import ACCELERATORS
from serve_app.routing.speed.prior import prior_profile

GPUS = st.sampled_from([row for row in ACCELERATORS.values() if row.name != "CPU"])


def a_prior(source: str, accelerator: str, tensor_parallel: int = 1) -> LatencyProfile:
    shape = find_shape(source)
    assert shape is not None
    return prior_profile(shape, ACCELERATORS[accelerator], tensor_parallel)


# Medians of Llama-2-70B in fp16, 512 prompt tokens, batch 1: splitwise-sim's perf_model.csv (MIT).
@pytest.mark.parametrize(
    ("accelerator", "tensor_parallel", "prefill_ms", "step_ms"),
    [("A100-80", 2, 197, 54.9), ("A100-80", 4, 127, 45.0), ("H100", 2, 84, 37.0)],
)
def test_the_prior_is_within_its_stated_error_of_a_measurement(
    accelerator: str, tensor_parallel: int, prefill_ms: float, step_ms: float
) -> None:
    profile = a_prior("llama-2-70b", accelerator, tensor_parallel)

    assert profile.step_s(1) * 1000 == pytest.approx(step_ms, rel=0.33)
    assert profile.prefill_s(512) * 1000 == pytest.approx(prefill_ms, rel=0.58)
    assert not profile.is_measured


@given(GPUS)
def test_no_step_is_faster_than_reading_the_weights(accelerator: object) -> None:
    shape = find_shape("llama-2-70b-awq")
    assert shape is not None

    row = ACCELERATORS[getattr(accelerator, "name", "")]
    profile = prior_profile(shape, row, 1)

    assert profile.step_s(1) > shape.weights_bytes / (row.bandwidth_gb_s * 1e9)


def test_quantized_weights_are_faster_on_gpus_and_not_on_cpus() -> None:
    full, quantized = "smollm2-135m", "smollm2-135m-awq"

    assert a_prior(quantized, "A6000").step_base_s < a_prior(full, "A6000").step_base_s
    assert a_prior(quantized, "CPU").step_base_s == a_prior(full, "CPU").step_base_s
