import pytest

from serve_app.bench.traffic.source import Source
from serve_app.bench.traffic.workload import (
    SLO_MIX,
    body,
    constant,
    lognormal_lengths,
    replayed,
    scaled,
)
from serve_app.simulator.trace import Request
from tests.unit.bench.traffic.builders import an_asked

TRACE = [Request(at_s, 1000, 200) for at_s in (3.0, 3.0, 4.0, 9.0, 10.0)]


def test_a_constant_rate_leaves_the_same_gap_between_all() -> None:
    asked = constant(TRACE, rate_per_s=4.0, duration_s=2.0, seed=1)
    assert [one.at_s for one in asked] == [index / 4 for index in range(8)]


def test_a_replayed_trace_keeps_its_bursts_at_another_rate() -> None:
    # Given five arrivals over 7 s
    asked = replayed(TRACE, rate_per_s=4.0, duration_s=60.0, seed=1)
    # Then they come within one second, with gaps in the same proportions
    assert [one.at_s for one in asked] == pytest.approx([0, 0, 1 / 7, 6 / 7, 1])


def test_a_trace_is_cut_when_the_time_is_over() -> None:
    assert len(replayed(TRACE, rate_per_s=1.0, duration_s=3.0, seed=1)) == 3


def test_slos_are_mixed_and_the_same_for_the_same_seed() -> None:
    def slos(seed: int) -> list[float]:
        return [r.slo_s for r in constant(TRACE, rate_per_s=100, duration_s=10, seed=seed)]

    assert slos(1) == slos(1) != slos(2)
    share = slos(1).count(5.0) / 1000
    assert set(slos(1)) == set(SLO_MIX) and share == pytest.approx(SLO_MIX[5.0], abs=0.05)


def test_lengths_are_scaled_and_never_nothing() -> None:
    assert scaled(TRACE[:1], 0.125) == [Request(3.0, 125, 25)]
    assert scaled([Request(0.0, 1, 1)], 0.001)[0].output_tokens >= 1


def test_lengths_without_a_trace_are_the_same_for_the_same_seed() -> None:
    lengths = lognormal_lengths((100.0, 0.5), (20.0, 0.5), count=500, seed=1)
    assert lengths == lognormal_lengths((100.0, 0.5), (20.0, 0.5), count=500, seed=1)
    assert sorted(one.prompt_tokens for one in lengths)[250] == pytest.approx(100, rel=0.15)


def test_a_prompt_is_new_for_every_run_and_as_long() -> None:
    first, second = (body(an_asked(), model="m", salt=salt, slo=None) for salt in "ab")
    words = [one["messages"][0]["content"].split() for one in (first, second)]
    assert words[0] != words[1] and len(words[0]) == len(words[1])


def test_a_server_that_knows_no_slo_is_told_none() -> None:
    assert "slo" not in body(an_asked(), model="m", salt="", slo=None)
    told = body(an_asked(slo_s=4.0), model="m", salt="", slo={"on_infeasible": "degrade"})
    assert told["slo"] == {"e2e_ms": 4000.0, "on_infeasible": "degrade"}


def test_one_slo_for_all_replaces_the_mix() -> None:
    source = Source.of(None, 1.0, slo_ms=1500)
    assert {one.slo_s for one in source.constant(rate_per_s=10, duration_s=5)} == {1.5}


def test_requests_of_one_instant_cannot_be_replayed_at_their_own_rate() -> None:
    with pytest.raises(ValueError, match="one instant"):
        replayed(TRACE[:2], rate_per_s=float("inf"), duration_s=60.0, seed=1)
