import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.bench.overhead.measures import (
    Measure,
    Target,
    Turn,
    compare,
    quantile,
    summarize,
)

LATENCY = Measure("latency_ms", "latency", "ms", (Target("ratio", "at most", 1.10),))
RATE = Measure(
    "rate", "rate", "req/s",
    (Target("value", "at least", 500.0), Target("ratio", "at least", 4.0)),
)  # fmt: skip


def turns(key: str, tandem: list[float], *references: list[float]) -> list[Turn]:
    return [
        Turn("Tandem", True, {key: tandem}),
        *(Turn("reference", False, {key: samples}) for samples in references),
    ]


@pytest.mark.parametrize(("tandem_ms", "is_met"), [(109.0, True), (110.0, True), (111.0, False)])
def test_a_ratio_is_met_up_to_its_limit(tandem_ms: float, is_met: bool) -> None:
    comparison = compare(LATENCY, turns("latency_ms", [tandem_ms], [100.0], [100.0]))
    assert comparison.is_met is is_met


@pytest.mark.parametrize(
    ("tandem", "reference", "verdicts"),
    [
        (600.0, 100.0, [True, True]),
        (450.0, 100.0, [False, True]),
        (600.0, 200.0, [True, False]),
    ],
)
def test_every_target_is_judged_by_itself_and_all_must_be_met(
    tandem: float, reference: float, verdicts: list[bool]
) -> None:
    comparison = compare(RATE, turns("rate", [tandem], [reference]))
    assert [is_met for _, is_met in comparison.verdicts] == verdicts
    assert comparison.is_met is all(verdicts)


def test_a_measure_without_targets_is_met() -> None:
    assert compare(Measure("x", "x", "ms"), turns("x", [9.0], [1.0])).is_met


def test_the_references_turns_are_pooled_and_their_drift_is_told() -> None:
    comparison = compare(LATENCY, turns("latency_ms", [100.0], [90.0, 90.0], [110.0, 110.0]))
    assert comparison.reference.count == 4
    assert comparison.ratio == pytest.approx(1.0)
    assert comparison.drift == pytest.approx(0.2)


def test_percentiles_lie_between_neighbours() -> None:
    summary = summarize([float(value) for value in range(101)])
    assert (summary.p5, summary.median, summary.p95) == (5.0, 50.0, 95.0)
    assert quantile([0.0, 10.0], 0.25) == 2.5


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_with_the_share_and_stay_within_the_samples(
    samples: list[float], one: float, other: float
) -> None:
    low, high = (quantile(samples, share) for share in sorted((one, other)))
    slack = 1e-9 * max(samples)
    assert min(samples) - slack <= low <= high + slack <= max(samples) + 2 * slack
