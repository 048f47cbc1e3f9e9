"""Synthetic arrivals: as many as asked for, when people are awake, in bursts."""

import random
import statistics
from itertools import pairwise

import pytest

from serve_app.simulator.arrivals import Clients, diurnal_rates, synthesize
from serve_app.simulator.trace import Request

LENGTHS = [Request(0.0, 100, 10), Request(0.0, 2000, 300)]


def gaps_s(clients: Clients, rate: float = 50.0, duration_s: float = 600.0) -> list[float]:
    requests = synthesize([rate], lengths=LENGTHS, randomness=random.Random(1), clients=clients,
                          window_s=duration_s)  # fmt: skip
    times = [request.arrived_at_s for request in requests]
    return [b - a for a, b in pairwise(times)]


def test_a_million_users_send_as_many_requests_as_they_would() -> None:
    # Given a million users, each with one request in four days
    rates = diurnal_rates(users=1e6, requests_per_user_hour=1 / 96, duration_s=7200)
    requests = list(synthesize(rates, lengths=LENGTHS, randomness=random.Random(1)))
    # Then as many come as the rates add up to, in order, with lengths that belong together
    assert len(requests) == pytest.approx(600 * sum(rates), rel=0.04)
    assert requests == sorted(requests, key=lambda request: request.arrived_at_s)
    assert {(r.prompt_tokens, r.output_tokens) for r in requests} == {(100, 10), (2000, 300)}


def test_rates_peak_when_people_are_awake() -> None:
    rates = diurnal_rates(users=3600, requests_per_user_hour=1, duration_s=86_400, swing=0.5)
    assert max(rates) == pytest.approx(1.5, rel=1e-3)
    assert rates.index(max(rates)) * 600 == pytest.approx(14 * 3600, abs=600)
    assert statistics.mean(rates) == pytest.approx(1.0)


@pytest.mark.parametrize("gaps", ["gamma", "weibull"])
def test_gaps_of_one_client_have_the_burstiness_that_was_asked_for(gaps: str) -> None:
    clients = Clients(count=1, burstiness=2.0, gaps="gamma" if gaps == "gamma" else "weibull")
    drawn = gaps_s(clients)
    assert statistics.mean(drawn) == pytest.approx(1 / 50, rel=0.05)
    assert statistics.stdev(drawn) / statistics.mean(drawn) == pytest.approx(2.0, rel=0.1)


def test_no_request_comes_in_a_window_without_a_rate() -> None:
    requests = synthesize([5.0, 0.0, 5.0], lengths=LENGTHS, randomness=random.Random(1))
    windows = {int(request.arrived_at_s // 600) for request in requests}
    assert windows == {0, 2}


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert gaps_s(Clients(), duration_s=10) == gaps_s(Clients(), duration_s=10)
