"""Comparisons as plain values, and as rows of a CSV file. Comparisons in, JSON-like data out."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from serve_app.simulator.experiment.compare import Comparison
from serve_app.simulator.metrics.intervals import difference, interval
from serve_app.simulator.metrics.score import Score

_WITH_INTERVAL = (
    "attainment", "goodput_rps", "quality_goodput", "usd_per_1k_good_tokens", "accept_rate",
)  # fmt: skip
_COLUMNS = (
    "setting", "load", "policy", "seed", "offered", "attainment", "goodput_rps",
    "quality_goodput", "usd_per_1k_good_tokens", "accept_rate", "p50_s", "p95_s", "p99_s",
    "best_tier_share", "fairness", "regret",
)  # fmt: skip


def of_comparison(comparison: Comparison, *, ours: str) -> dict[str, Any]:
    """Means over seeds with 95 % intervals, beside the clairvoyant's.

    `ahead` says by how much `ours` is better in quality-weighted goodput than each other policy,
    seed by seed on the same requests.
    """
    clairvoyant = _means(comparison.clairvoyant)
    foreseen = clairvoyant["quality_goodput"]
    bound = _means(comparison.bound) if comparison.bound else None
    policies = {}
    for name, scores in comparison.scores.items():
        means = _means(scores)
        policies[name] = means | {
            "of_clairvoyant": _share(means["quality_goodput"], foreseen),
            "of_work_bound": _share(
                means["quality_goodput"], bound["quality_goodput"] if bound else None
            ),
        }
    kept = ("attainment", "goodput_rps", "quality_goodput")
    return {
        "load": comparison.load,
        "rate_per_s": _rounded(comparison.rate_per_s),
        "tuned": {
            "prompt_limit_tokens": comparison.tuned.prompt_limit[0],
            "longer_to_best_tier": comparison.tuned.prompt_limit[1],
            "best_tier_share": _rounded(comparison.tuned.best_share),
            "promise": comparison.tuned.promise,
        },
        "policies": policies,
        "clairvoyant": clairvoyant
        | {"work_bound": {name: bound[name] for name in kept} if bound else None},
        "ahead": _ahead(comparison, ours) if ours in comparison.scores else {},
    }


def _means(scores: Sequence[Score]) -> dict[str, Any]:
    values = {name: [_number(getattr(s, name)) for s in scores] for name in _WITH_INTERVAL}
    groups = scores[0].attainment_by_group
    return {
        **{name: _rounded(_mean(values[name])) for name in _WITH_INTERVAL},
        "e2e_s": {q: _rounded(_mean([s.e2e_s[q] for s in scores])) for q in scores[0].e2e_s},
        "best_tier_share": _rounded(_mean([s.best_tier_share for s in scores])),
        "fairness": _rounded(_mean([s.fairness for s in scores])),
        "attainment_by_group": {
            group: _rounded(_mean([s.attainment_by_group.get(group, 0.0) for s in scores]))
            for group in groups
        },
        "regret": _rounded(_mean([_number(s.regret) for s in scores])),
        "ci": {name: [_rounded(end) for end in interval(values[name])] for name in _WITH_INTERVAL},
    }


def _ahead(comparison: Comparison, ours: str) -> dict[str, Any]:
    mine = [score.quality_goodput for score in comparison.scores[ours]]
    own_low, _ = interval(mine)
    said = {}
    for name, scores in comparison.scores.items():
        if name == ours:
            continue
        theirs = [score.quality_goodput for score in scores]
        low, high = difference(mine, theirs)
        said[name] = {
            "difference": _rounded(_mean(mine) - _mean(theirs)),
            "ci": [_rounded(low), _rounded(high)],
            "is_ahead": low > 0.0,
            "are_intervals_apart": own_low > interval(theirs)[1],
        }
    return said


def write_rows(path: Path, comparisons: Iterable[tuple[str, Comparison]]) -> None:
    """One line per setting, load, policy and seed; the same bytes for the same seeds."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for setting, comparison in comparisons:
            runs: Mapping[str, Sequence[Score]] = {
                **comparison.scores,
                "(clairvoyant)": comparison.clairvoyant,
                "(work bound)": comparison.bound,
            }
            for name, scores in runs.items():
                for seed, score in enumerate(scores, start=1):
                    row = {**asdict(score), **_percentiles(score)}
                    kept = {column: row[column] for column in _COLUMNS if column in row}
                    writer.writerow(
                        kept
                        | {
                            "setting": setting,
                            "load": comparison.load,
                            "policy": name,
                            "seed": seed,
                        }
                    )


def _percentiles(score: Score) -> dict[str, float]:
    return {f"{name}_s": value for name, value in score.e2e_s.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _share(value: float, whole: float | None) -> float | None:
    return _rounded(value / whole) if whole else None


def _rounded(value: float) -> float | None:
    """None for what is no number, which JSON cannot say."""
    return None if value != value else float(f"{value:.6g}")
