"""The rule that puts a CPU's model into its engine's process."""

import pytest

from deployments.executor import fits_one_process, num_workers

BOUND = {"VLLM_CPU_OMP_THREADS_BIND": "0"}


@pytest.mark.parametrize(
    ("engine_kwargs", "environment", "fits"),
    [
        ({}, {}, True),
        ({"tensor_parallel_size": 1}, {"OMP_NUM_THREADS": "1"}, True),
        ({"tensor_parallel_size": 2}, {}, False),
        ({"pipeline_parallel_size": 2}, {}, False),
        ({}, BOUND, False),
    ],
)
def test_only_one_worker_that_nobody_binds_fits(
    engine_kwargs: dict[str, int], environment: dict[str, str], fits: bool
) -> None:
    assert fits_one_process(num_workers(engine_kwargs), environment) is fits
