"""Traces: what is read from a file and how arrivals are brought to a rate."""

from itertools import pairwise
from pathlib import Path

import pytest

from serve_app.simulator.trace import Request, at_rate, parse_trace, read_trace

HEADER = "arrived_at_s,prompt_tokens,output_tokens"
AZURE = Path(__file__).parents[2] / "data/azure_conv_2023_first_half.csv"


def test_the_azure_trace_is_read_whole() -> None:
    requests = read_trace(AZURE)
    assert len(requests) == 9740
    assert requests[1] == Request(4.315, 396, 109)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("soon,10,10", r"t.csv line 3, column arrived_at_s: 'soon' is no number of seconds"),
        ("nan,10,10", r"column arrived_at_s: 'nan' is no number"),
        ("0.5,10,10", r"line 3, column arrived_at_s: '0.5' is before the line above, at 1.0 s"),
        ("2,0,10", r"line 3, column prompt_tokens: '0' is no whole number of tokens, 1 or more"),
        ("2,10,1.5", r"line 3, column output_tokens: '1.5' is no whole number"),
        ("2,10", r"line 3, column output_tokens: None is no whole number"),
        ("2,inf,10", r"line 3, column prompt_tokens: 'inf' is no whole number"),
    ],
)
def test_a_bad_value_is_named_with_line_column_and_reason(row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_trace([HEADER, "1.0,10,10", row], name="t.csv")


def test_a_missing_column_and_an_empty_trace_are_named() -> None:
    with pytest.raises(ValueError, match="line 1: no column output_tokens"):
        parse_trace(["arrived_at_s,prompt_tokens", "1,2"], name="t.csv")
    with pytest.raises(ValueError, match=r"t.csv holds no requests"):
        parse_trace([HEADER], name="t.csv")


def test_stretching_sets_the_rate_and_keeps_the_bursts() -> None:
    # Given a burst of two and a pause
    requests = [Request(at_s, 10, 10) for at_s in (1.0, 1.1, 3.0)]
    # When they are to come at two per second
    stretched = at_rate(requests, 2.0)
    # Then the gaps shrink alike
    gaps = [b.arrived_at_s - a.arrived_at_s for a, b in pairwise(stretched)]
    assert gaps == pytest.approx([0.05, 0.95])


def test_requests_at_one_instant_have_no_rate() -> None:
    with pytest.raises(ValueError, match="one instant"):
        at_rate([Request(1.0, 1, 1)] * 2, 1.0)
