"""A server's decision log, replayed."""

from typing import Any

import pytest

from serve_app.simulator.replay.decisions import read_log


def an_entry(at_s: float, **changes: Any) -> dict[str, Any]:
    candidate = {"prompt_tokens": 100, "expected_output_tokens": 80.4}
    return {
        "decision_id": f"d{at_s}", "arrived_at_s": at_s, "slo_e2e_ms": 5000, "slo_ttft_ms": None,
        "slo_tpot_ms": None, "slo_attainment": 0.9, "slo_source": "class",
        "on_infeasible": ["queue", "reject"], "max_tokens": 400, "min_tokens": 0,
        "expected_output_tokens": None, "sequences": 1, "is_length_fixed": False,
        "pinned_tier": None, "task": "rag", "route_key": "bot/rag", "slo_class": "bot",
        "candidates": [
            {**candidate, "tier": "small", "quality": 1.0},
            {**candidate, "tier": "large", "quality": 2.0, "prompt_tokens": 120},
        ],
        "tier": "large", "status": 200, "output_tokens": 60, "is_censored": False,
        "is_slo_met": True,
    } | changes  # fmt: skip


def test_requests_come_in_the_order_and_at_the_distance_in_which_they_arrived() -> None:
    log = read_log([an_entry(1007.0), an_entry(1000.0)], ["small", "large"])
    assert [arrival.request.arrived_at_s for arrival in log.arrivals] == [0.0, 7.0]


def test_what_was_asked_is_asked_again() -> None:
    asked = read_log([an_entry(0.0), an_entry(1.0)], ["small", "large"]).arrivals[0].asked
    assert asked.prompt_tokens == {"small": 100, "large": 120}
    assert (asked.slo.e2e_ms, asked.slo.attainment) == (5000, 0.9)
    assert asked.slo.on_infeasible == ("queue", "reject")
    assert (asked.max_tokens, asked.task, asked.route, asked.share_key) == (
        400, "rag", "bot/rag", "bot"
    )  # fmt: skip


def test_a_tier_that_the_log_does_not_know_counts_like_the_longest() -> None:
    log = read_log([an_entry(0.0), an_entry(1.0)], ["other"])
    assert log.arrivals[0].asked.prompt_tokens == {"other": 120}


@pytest.mark.parametrize(
    ("changes", "tokens", "guessed"),
    [
        ({}, 60, 0),
        ({"sequences": 3, "output_tokens": 90}, 30, 0),
        ({"status": 429, "tier": None, "output_tokens": None}, 80, 1),
        ({"status": 408, "output_tokens": 200, "is_censored": True}, 200, 1),
    ],
)
def test_the_length_is_what_was_written_or_else_what_was_expected(
    changes: dict[str, Any], tokens: int, guessed: int
) -> None:
    log = read_log([an_entry(0.0, **changes), an_entry(1.0)], ["small", "large"])
    assert log.arrivals[0].request.output_tokens == tokens
    assert log.num_guessed == guessed


def test_what_the_server_reached_stands_beside() -> None:
    entries = [
        an_entry(0.0),
        an_entry(5.0, is_slo_met=False),
        an_entry(10.0, status=429, tier=None, output_tokens=None, is_slo_met=None),
        an_entry(20.0, tier="small"),
    ]
    recorded = read_log(entries, ["small", "large"]).recorded
    assert recorded["attainment"] == 0.5
    assert recorded["accept_rate"] == 0.75
    assert recorded["quality_goodput"] == pytest.approx(3.0 / 20)


def test_who_left_before_a_decision_was_never_asked_for() -> None:
    log = read_log([an_entry(0.0), an_entry(1.0, candidates=[]), an_entry(2.0)], ["small"])
    assert len(log.arrivals) == 2


def test_a_log_without_decisions_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than two"):
        read_log([], ["small"])
