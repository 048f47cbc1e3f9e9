"""An engine set up as a queue waits as long as theory says.

The figures are sums over few busy periods, so that they scatter: each test runs independent
samples and allows four standard errors of their mean.
"""

import heapq
import math
import random
import statistics
from collections.abc import Callable

import pytest

from serve_app.simulator.validation.queueing import (
    engine_wait_s,
    erlang_c,
    mg1_wait_s,
    mmc_wait_s,
)
from serve_app.simulator.validation.theory import constant, exponential, two_kinds

SAMPLES = 10
REQUESTS = 2000
# A mean service of one second, in a thousand steps.
STEP_S = 1e-3


Draw = Callable[[random.Random], int]


def wait_s(draw: Draw, servers: int, busy: float, seed: int) -> float:
    randomness = random.Random(seed)
    return engine_wait_s(
        servers=servers,
        arrivals_per_s=busy * servers,
        draw_tokens=lambda: draw(randomness),
        step_s=STEP_S,
        requests=REQUESTS,
        randomness=randomness,
    )


def waits_s(draw: Draw, servers: int, busy: float) -> list[float]:
    return [wait_s(draw, servers, busy, seed) for seed in range(SAMPLES)]


def assert_mean(samples_s: list[float], expected_s: float) -> None:
    error_s = statistics.stdev(samples_s) / math.sqrt(len(samples_s))
    assert statistics.mean(samples_s) == pytest.approx(expected_s, abs=4 * error_s)
    # A tolerance that lets everything pass would prove nothing.
    assert error_s < 0.1 * expected_s


@pytest.mark.parametrize(("servers", "busy"), [(1, 0.5), (4, 0.7)])
def test_exponential_replies_wait_as_in_m_m_c(servers: int, busy: float) -> None:
    samples_s = waits_s(exponential, servers, busy)
    assert_mean(samples_s, mmc_wait_s(servers, busy * servers, 1.0))


@pytest.mark.parametrize(("draw", "variation"), [(constant, 0.0), (two_kinds, 0.8)])
def test_other_replies_wait_as_in_m_g_1(draw: Draw, variation: float) -> None:
    assert_mean(waits_s(draw, 1, 0.6), mg1_wait_s(0.6, 1.0, variation))


def test_each_sample_waits_as_in_an_exact_queue_of_the_same_arrivals() -> None:
    # Given what the engine waited, to be compared without any sampling error
    ours_s = wait_s(exponential, 4, 0.7, seed=0)
    # When Kiefer and Wolfowitz' recursion serves the same arrivals and lengths
    randomness, free_s, now, theirs_s = random.Random(0), [0.0] * 4, 0.0, 0.0
    for _ in range(REQUESTS):
        now += randomness.expovariate(0.7 * 4)
        start_s = max(now, heapq.heappop(free_s))
        heapq.heappush(free_s, start_s + exponential(randomness) * STEP_S)
        theirs_s += (start_s - now) / REQUESTS
    # Then the engine waits at most one step longer: requests join between steps
    assert theirs_s <= ours_s <= theirs_s + STEP_S


def test_closed_formulas_give_textbook_values() -> None:
    # M/M/1 waits with probability rho; two servers with one busy on average: a third.
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert mmc_wait_s(1, 0.5, 1.0) == pytest.approx(mg1_wait_s(0.5, 1.0, 1.0)) == pytest.approx(1.0)
