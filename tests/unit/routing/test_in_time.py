"""The share of replies in time, and the bounds that spare it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.routing.forecasting.in_time import InTime
from serve_app.routing.latency import ReplyTime
from serve_app.routing.learning.calibration import Calibrator
from serve_app.routing.learning.histogram import log_normal_shares
from serve_app.routing.lengths.reply import LengthDistribution, ReplyLength

SOME_LENGTHS = st.builds(
    lambda median, spread, limits, sequences: ReplyLength(
        LengthDistribution(log_normal_shares(median, spread)), min(limits), max(limits), sequences
    ),
    st.floats(1, 5_000),
    st.floats(0.05, 1.5),
    st.tuples(st.integers(1, 4_096), st.integers(1, 4_096)),
    st.integers(1, 3),
)
SOME_TIMES = st.builds(
    lambda wait_s, prefill_s, step_s, batch: ReplyTime(wait_s, prefill_s, step_s, batch),
    st.floats(0, 10),
    st.floats(1e-3, 5),
    st.floats(0, 0.2),
    st.floats(1, 64),
)
LIMITS_S = st.floats(1e-3, 300)


@given(SOME_LENGTHS, SOME_TIMES, st.floats(0.03, 1.0), LIMITS_S, st.floats(0.05, 2.0))
def test_the_share_lies_between_its_bounds(
    length: ReplyLength, time: ReplyTime, spread: float, limit_s: float, shift_s: float
) -> None:
    in_time = InTime(length, time, spread, limit_s, shift_s)
    low, high = in_time.bounds()
    # Beyond 3.3 spreads the share stops counting, 1 in 2,000 on each side.
    assert low - 5e-4 <= in_time.share() <= high + 5e-4


QUESTIONS = st.lists(st.tuples(st.floats(0.01, 0.99), LIMITS_S), min_size=1, max_size=4)


@given(SOME_LENGTHS, SOME_TIMES, LIMITS_S, QUESTIONS)
def test_a_probability_is_reached_exactly_when_it_is_not_above_the_one_that_is_worked_out(
    length: ReplyLength, time: ReplyTime, usual_s: float, questions: list[tuple[float, float]]
) -> None:
    calibrator = Calibrator(is_measured=True)
    # Two alike, because one that has worked a probability out needs no bounds any more
    asked_of, worked_out = (calibrator.forecast(time, length, prompt_tokens=512) for _ in range(2))
    # Asked for several shares and limits one after the other, as a request's tiers are
    for asked, other_s in questions:
        for limit_s in (usual_s, other_s, usual_s):
            probability = worked_out.probability(limit_s)
            if probability != pytest.approx(asked, abs=1e-9):
                assert asked_of.reaches(asked, limit_s) == (probability >= asked)


@given(SOME_LENGTHS, st.integers(1, 4_096))
def test_the_share_within_a_length_is_that_of_the_lengths_up_to_it(
    length: ReplyLength, tokens: int
) -> None:
    _, shares, shorter = length.between(0.0, tokens + 0.5)
    assert length.shares_within(tokens + 0.5)[0] == pytest.approx(shorter + sum(shares), abs=1e-9)
