"""Closed formulas of queues, and the engine set up as such a queue. The two must agree."""

import random
from collections.abc import Callable

from serve_app.simulator.engine import EngineTiming, Replica


def erlang_c(servers: int, load: float) -> float:
    """Probability of waiting in M/M/c; `load` is the mean number of busy servers, below c.

    From Erlang's B by its stable recursion (Cooper, "Introduction to Queueing Theory", 1981).
    """
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mmc_wait_s(servers: int, arrivals_per_s: float, mean_service_s: float) -> float:
    """Mean time in the queue of M/M/c."""
    load = arrivals_per_s * mean_service_s
    return erlang_c(servers, load) * mean_service_s / (servers - load)


def mg1_wait_s(arrivals_per_s: float, mean_service_s: float, variation: float) -> float:
    """Mean time in the queue of M/G/1 (Pollaczek-Khinchine).

    variation: standard deviation of the service time over its mean.
    """
    busy = arrivals_per_s * mean_service_s
    return busy / (1 - busy) * mean_service_s * (1 + variation**2) / 2


def engine_wait_s(
    *,
    servers: int,
    arrivals_per_s: float,
    draw_tokens: Callable[[], int],
    step_s: float,
    requests: int,
    randomness: random.Random,
) -> float:
    """Mean wait in an engine that is a queue: every step takes `step_s`, whatever is in it.

    A request holds one of `servers` slots for as many steps as it has output tokens; its wait is
    what its stay is longer than that. Arrivals are Poisson.
    """
    engine = Replica(
        EngineTiming(weights_s=step_s, token_s=0.0),
        max_num_seqs=servers,
        max_batched_tokens=2 * servers,
        kv_tokens=10**9,
        noise=randomness,
    )
    now = wait_s = 0.0
    finished = []
    for request in range(requests):
        now += randomness.expovariate(arrivals_per_s)
        tokens = draw_tokens()
        engine.submit(request, prompt_tokens=1, output_tokens=tokens, now=now)
        wait_s -= now + tokens * step_s
        finished += engine.advance(now)
    finished += engine.advance(float("inf"))
    return (wait_s + sum(reply.finished_at_s for reply in finished)) / requests
