"""How much one replica serves in time."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.simulator.trace import Request
from serve_app.sizing.capacity import capacity_of, longest_reply
from tests.unit.sizing.demands import SLO, a_demand, an_option


def test_the_largest_batch_in_time_is_found_and_one_more_is_late() -> None:
    # Given 50 steps of 10 ms + 1 ms per sequence and 2 s, so that 30 fit if nothing interfered
    capacity = capacity_of(an_option(), a_demand())
    # Then prefills of those who arrive meanwhile cost some of them
    assert 15 < capacity.batch < 30
    assert capacity.limit == "prefill"
    # And Little's law holds: batch = requests per second x their time, which is within the limit
    assert capacity.batch / capacity.rps <= 2.0


def test_what_is_late_when_idle_serves_nothing_and_tells_what_it_needs() -> None:
    capacity = capacity_of(an_option(step_s=0.05), a_demand())
    assert (capacity.rps, capacity.limit) == (0.0, "impossible")
    assert capacity.idle_e2e_s == pytest.approx(0.061 + 50 * 0.051)
    assert longest_reply(capacity.option, a_demand()) == 1 + int((2 - 0.061) / 0.051)


@pytest.mark.parametrize(
    ("changes", "limit", "batch"),
    [
        ({"max_num_seqs": 4}, "slots", 4),
        ({"kv_tokens": 1000}, "memory", 7),
        ({"context_tokens": 100}, "context", 0),
    ],
)
def test_what_ends_the_batch_is_named(changes: dict[str, int], limit: str, batch: int) -> None:
    capacity = capacity_of(an_option(**changes), a_demand())
    assert (capacity.limit, capacity.batch) == (limit, batch)


def test_reading_a_longer_context_leaves_less_capacity() -> None:
    # Given an engine to whose steps each token of context adds 1 us
    plain = an_option()
    timing = replace(plain.tier.timing, context_token_s=1e-6)
    reading = replace(plain, tier=replace(plain.tier, timing=timing))
    # Then the prompts of the demand count, not those of a start-up measurement
    assert capacity_of(reading, a_demand()).rps < capacity_of(plain, a_demand()).rps


def test_a_reply_is_cut_where_the_window_ends() -> None:
    # Given replies that would be late, on a tier whose window ends after 20 tokens of them
    demand = a_demand(output_tokens=1000)
    assert capacity_of(an_option(), demand).limit == "impossible"
    assert capacity_of(an_option(context_tokens=120), demand).rps > 0


def test_only_the_asked_share_of_replies_must_be_in_time() -> None:
    # Given one reply in ten that no replica can make in time
    lengths = [Request(0.0, 100, 51)] * 9 + [Request(0.0, 100, 1000)]
    # Then 90 % can be promised, 95 % cannot
    assert capacity_of(an_option(), a_demand(lengths=lengths)).rps > 0
    strict = a_demand(lengths=lengths, slo=replace(SLO, attainment=0.95))
    assert capacity_of(an_option(), strict).limit == "impossible"


@settings(max_examples=50)
@given(st.floats(500, 20_000), st.floats(1.01, 3), st.integers(2, 400))
def test_a_longer_deadline_never_allows_a_smaller_batch(
    e2e_ms: float, longer: float, output_tokens: int
) -> None:
    tight = a_demand(output_tokens=output_tokens, slo=replace(SLO, e2e_ms=e2e_ms))
    loose = replace(tight, slo=replace(SLO, e2e_ms=e2e_ms * longer))
    assert capacity_of(an_option(), loose).batch >= capacity_of(an_option(), tight).batch
