import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from serve_app.bench.calibration.report import as_document, show, verdicts
from serve_app.bench.calibration.scores import (
    Scored,
    Scores,
    by_tercile,
    coverage,
    mean_pinball,
    median_error,
)
from serve_app.bench.targets import Target

FACTS: dict[str, Any] = {
    "machine": {"date": "2026-01-01"}, "versions": {"python": "3"}, "engine": "e", "load": 0.4,
    "trace": {"file": "t.csv", "requests": 1_000},
}  # fmt: skip


def a_scored(**changes: Any) -> Scored:
    defaults: dict[str, Any] = {
        "prompt_tokens": 100,
        "output_tokens": 10,
        "expected_tokens": 10.0,
        "load": 1.0,
        "e2e_s": 1.0,
        "given_length_s": 1.0,
        "stated": 0.5,
        "quantiles_s": {"tandem": (1.0, 2.0, 3.0)},
    }
    return Scored(**(defaults | changes))


def some_scores(**changes: Any) -> Scores:
    thirds = [0.95, 0.95, 0.95]
    good = Scores(
        num_scored=3_000,
        coverage=0.95,
        coverage_by={"prompt": thirds, "length": thirds, "load": thirds},
        coverage_by_actual_length=[0.99, 0.95, 0.90],
        tightness_vs_global=0.3,
        pinball={"tandem": 1.0, "global_quantile": 2.0, "semantic_router": 3.0, "aibrix": 2.5},
        median_abs_rel_error=0.2,
        median_abs_rel_error_given_length=0.1,
        rank_correlation=0.8,
    )
    return replace(good, **changes)


def missed(**changes: Any) -> list[str]:
    runs = {"steady": some_scores(**changes), "slow_down": some_scores()}
    return [verdict.target.name for verdict in verdicts(runs) if not verdict.is_met]


def test_coverage_is_the_share_of_replies_within_the_95_percent_bound() -> None:
    assert coverage([a_scored(e2e_s=e2e_s) for e2e_s in (1.0, 2.9, 3.0, 3.1)]) == 0.75


def test_terciles_are_equal_thirds_in_order_of_the_feature() -> None:
    late = [a_scored(load=load, e2e_s=9.0 if load > 4 else 1.0) for load in (6, 1, 5, 2, 4, 3)]
    assert by_tercile(late, lambda one: one.load) == [1.0, 1.0, 0.0]


def test_pinball_is_the_mean_over_replies_and_levels() -> None:
    scored = a_scored(e2e_s=2.0, quantiles_s={"tandem": (1.0, 2.0, 4.0)})
    assert mean_pinball([scored], "tandem") == pytest.approx((0.5 * 1.0 + 0.0 + 0.05 * 2.0) / 3)


def test_the_error_of_a_forecast_is_relative_to_what_came() -> None:
    assert median_error([(1.0, 2.0), (3.0, 2.0), (2.0, 2.0)]) == 0.5


def test_everything_within_its_range_meets_all_targets() -> None:
    assert missed() == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"coverage": 0.93}, "steady: coverage of the 95 % bound"),
        ({"coverage": 0.97}, "steady: coverage of the 95 % bound"),
        (
            {"coverage_by": {"load": [0.95, 0.90, 0.95]}},
            "steady: worst third by load",
        ),
        ({"tightness_vs_global": 0.19}, "steady: tighter than one bound for all, by"),
        ({"tightness_vs_global": float("nan")}, "steady: tighter than one bound for all, by"),
        (
            {"pinball": {"tandem": 2.7, "semantic_router": 3.0, "aibrix": 2.5}},
            "steady: pinball loss below aibrix's",
        ),
    ],
)
def test_what_lies_outside_its_range_is_missed(changes: dict[str, Any], name: str) -> None:
    assert missed(**changes) == [name]


def test_tightness_is_not_asked_of_the_run_with_a_slow_down() -> None:
    runs = {"steady": some_scores(), "slow_down": some_scores(tightness_vs_global=0.0)}
    assert all(verdict.is_met for verdict in verdicts(runs))


def test_a_trace_whose_prompts_say_nothing_is_told_so() -> None:
    runs = {
        "steady": some_scores(tightness_vs_global=0.02, rank_correlation=0.1),
        "slow_down": some_scores(),
    }
    [why] = [verdict.why for verdict in verdicts(runs) if not verdict.is_met]
    assert why is not None and "says little about how long" in why


def test_the_document_has_the_steady_run_on_top_and_is_json() -> None:
    runs = {"steady": some_scores(coverage=0.93), "slow_down": some_scores()}
    document = as_document(runs, verdicts(runs), **FACTS)
    assert json.loads(json.dumps(document)) == document
    assert document["coverage"] == 0.93 and document["slow_down"]["coverage"] == 0.95
    assert document["is_met"] is False


def test_the_table_names_what_was_missed_and_why() -> None:
    text = io.StringIO()
    runs = {"steady": some_scores(coverage=0.93), "slow_down": some_scores()}
    judged = verdicts(runs)
    show(runs, judged, as_document(runs, judged, **FACTS), Console(file=text, width=150))
    assert "the bounds are too narrow" in text.getvalue()


def test_a_range_is_written_with_its_ends() -> None:
    assert Target("x", low=0.92, high=0.98).text == "0.92 to 0.98"
    assert Target("x", "ms", high=2.0).text == "≤ 2 ms"
    assert Target("x", low=0.2).text == "≥ 0.2"
