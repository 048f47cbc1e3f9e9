"""Waits in the simulated engine beside theory's, as a table: 20 samples of 20,000 requests each.

python -m serve_app.simulator.validation.theory
"""

import math
import random
import statistics
from collections.abc import Callable
from functools import partial

from serve_app.simulator.validation.queueing import engine_wait_s, mg1_wait_s, mmc_wait_s

_SAMPLES = 20
_REQUESTS = 20_000
# Replies of 1000 tokens on average, so that one takes a second.
_STEP_S = 1e-3


def exponential(randomness: random.Random) -> int:
    return 1 + int(randomness.expovariate(1 / 999.5))


def constant(_: random.Random) -> int:
    return 1000


def two_kinds(randomness: random.Random) -> int:
    """Replies of 200 or 1800 tokens, whose standard deviation is 0.8 of their mean."""
    return 200 if randomness.random() < 0.5 else 1800


def row(
    name: str, draw: Callable[[random.Random], int], servers: int, busy: float, theory_s: float
) -> str:
    """One line of the table; `busy` is the share of time that a server works."""
    waits_s = []
    for seed in range(_SAMPLES):
        randomness = random.Random(seed)
        waits_s.append(
            engine_wait_s(
                servers=servers,
                arrivals_per_s=busy * servers,
                draw_tokens=partial(draw, randomness),
                step_s=_STEP_S,
                requests=_REQUESTS,
                randomness=randomness,
            )
        )
    mean_s, error_s = statistics.mean(waits_s), statistics.stdev(waits_s) / math.sqrt(_SAMPLES)
    off = mean_s / theory_s - 1
    return f"| {name} | {busy} | {theory_s:.3f} | {mean_s:.3f} ± {error_s:.3f} | {off:+.1%} |"


if __name__ == "__main__":
    print("| queue | busy | theory, s | engine, s ± standard error | off |\n|---|---|---|---|---|")
    for servers, busy in ((1, 0.5), (1, 0.7), (4, 0.7), (8, 0.8)):
        theory_s = mmc_wait_s(servers, busy * servers, 1.0)
        print(row(f"M/M/{servers}", exponential, servers, busy, theory_s))
    print(row("M/D/1", constant, 1, 0.6, mg1_wait_s(0.6, 1.0, 0.0)))
    print(row("M/G/1, two kinds", two_kinds, 1, 0.6, mg1_wait_s(0.6, 1.0, 0.8)))
