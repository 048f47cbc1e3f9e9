"""Synthetic arrivals of many users. Rates and a sample of lengths in, Requests out, in order."""

import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from serve_app.simulator.trace import Request

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Clients:
    """Who sends: a few applications, each with many users behind it.

    Real load is the sum of clients with skewed rates, each more bursty than a Poisson process
    (ServeGen, Alibaba 2025, finds Gamma or Weibull gaps). skew: exponent of the Zipf law of their
    shares. burstiness: coefficient of variation of the gaps of one client, 1 for Poisson.
    """

    count: int = 50
    skew: float = 1.2
    burstiness: float = 2.0
    gaps: Literal["gamma", "weibull"] = "gamma"

    def shares(self) -> list[float]:
        weights = [1.0 / rank**self.skew for rank in range(1, self.count + 1)]
        return [weight / sum(weights) for weight in weights]


def diurnal_rates(
    *,
    users: float,
    requests_per_user_hour: float,
    duration_s: float,
    swing: float = 0.5,
    peak_at_s: float = 14 * 3600.0,
    window_s: float = 600.0,
) -> list[float]:
    """Requests per second in each window: a cosine over the day around the users' mean rate.

    `swing` is the peak above the mean, as a share of the mean (0 to 1).
    """
    mean_rps = users * requests_per_user_hour / 3600.0
    middles = ((i + 0.5) * window_s for i in range(math.ceil(duration_s / window_s)))
    return [
        mean_rps * (1 + swing * math.cos(2 * math.pi * (middle_s - peak_at_s) / _DAY_S))
        for middle_s in middles
    ]


def synthesize(
    rates_rps: Sequence[float],
    *,
    lengths: Sequence[Request],
    randomness: random.Random,
    clients: Clients | None = None,
    window_s: float = 600.0,
) -> Iterator[Request]:
    """Requests in order of arrival, at `rates_rps` in one window after the other.

    Prompt and output lengths are drawn together from `lengths`, whose arrivals are ignored: the
    two depend on each other in ways that no formula here would keep.

        rates = diurnal_rates(users=1e6, requests_per_user_hour=1, duration_s=3600)
        synthesize(rates, lengths=read_trace(path), randomness=random.Random(1))
    """
    clients = clients or Clients()
    # Each client has its own randomness, so that the order of merging changes nothing.
    arrivals = [
        _arrivals(
            [rate * share for rate in rates_rps],
            window_s,
            clients,
            random.Random(randomness.getrandbits(64)),
        )
        for share in clients.shares()
    ]
    for arrived_at_s in heapq.merge(*arrivals):
        yield randomness.choice(lengths).at(arrived_at_s)


def _arrivals(
    rates_rps: Sequence[float], window_s: float, clients: Clients, randomness: random.Random
) -> Iterator[float]:
    """One client: gaps with mean 1 in units of expected requests, mapped to seconds."""
    draw = _gaps(clients, randomness)
    # The process has been running before it is watched: it starts anywhere in its first gap.
    ahead = draw() * randomness.random()
    for window, rate in enumerate(rates_rps):
        expected = rate * window_s
        while ahead < expected:
            yield window * window_s + ahead / rate
            ahead += draw()
        ahead -= expected


def _gaps(clients: Clients, randomness: random.Random) -> Callable[[], float]:
    """Draws gaps with mean 1 and the coefficient of variation `burstiness`."""
    if clients.gaps == "gamma":
        variance = clients.burstiness**2
        return lambda: randomness.gammavariate(1 / variance, variance)
    shape = _weibull_shape(clients.burstiness)
    scale = 1 / math.gamma(1 + 1 / shape)
    return lambda: randomness.weibullvariate(scale, shape)


def _weibull_shape(variation: float) -> float:
    """The shape k with (1 + variation^2) Gamma(1 + 1/k)^2 = Gamma(1 + 2/k), by bisection."""
    low, high = 0.1, 20.0
    for _ in range(60):
        shape = (low + high) / 2
        moments = math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape)
        # A larger shape varies less.
        low, high = (shape, high) if moments > math.log1p(variation**2) else (low, shape)
    return (low + high) / 2
