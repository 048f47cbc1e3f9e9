"""The report of `tandem bench calibration` on a trace: scores in, a document and tables out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.bench.calibration.scores import BOUND, Scores
from serve_app.bench.targets import Target, Verdict, table_of

_OVERALL, _EACH_THIRD = (0.94, 0.96), (0.91, 0.98)
_TIGHTNESS = 0.20
_RIVALS = ("semantic_router", "aibrix")
_FEATURES = {"prompt": "prompt length", "length": "expected reply length", "load": "load"}
_THIRDS = ("lower", "middle", "upper")
# Below this the order of predicted times says little about the order of the real ones.
_INFORMATIVE = 0.5


def verdicts(runs: Mapping[str, Scores]) -> list[Verdict]:
    """All targets, by the name of the run; tightness is asked of the steady one."""
    judged: list[Verdict] = []
    for name, scores in runs.items():
        judged += _coverage_verdicts(name, scores)
        judged += [_rival_verdict(name, scores, rival) for rival in _RIVALS]
    steady = runs["steady"]
    target = Target("steady: tighter than one bound for all, by", low=_TIGHTNESS)
    judged.append(target.judged(steady.tightness_vs_global, _why_loose(steady)))
    return judged


def as_document(
    runs: Mapping[str, Scores], judged: Sequence[Verdict], **facts: Any
) -> dict[str, Any]:
    """Everything, as JSON takes it: the steady run at the top, the other below `slow_down`."""
    return {
        "object": "tandem.bench.calibration",
        **facts,
        **_scores(runs["steady"]),
        "slow_down": _scores(runs["slow_down"]),
        "targets": [verdict.as_document() for verdict in judged],
        "is_met": all(verdict.is_met for verdict in judged),
    }


def show(
    runs: Mapping[str, Scores], judged: Sequence[Verdict], document: Mapping[str, Any],
    console: Console,
) -> None:  # fmt: skip
    """The targets, the figures, and why what was missed was missed."""
    console.print(_figures(runs))
    console.print(table_of("Targets", judged))
    for verdict in judged:
        if not verdict.is_met:
            console.print(f"[red]missed[/] {verdict.target.name}: {verdict.why}")
    machine = document["machine"]
    console.print(
        f"{machine['date']}  {document['trace']['requests']:,} requests on {document['engine']} "
        f"at load {document['load']:g}; python {document['versions']['python']}"
    )


def _coverage_verdicts(run: str, scores: Scores) -> list[Verdict]:
    low, high = _OVERALL
    overall = Target(f"{_title(run)}: coverage of the 95 % bound", low=low, high=high)
    judged = [overall.judged(scores.coverage, _why_uncovered(scores.coverage, scores.num_scored))]
    low, high = _EACH_THIRD
    for feature, shares in scores.coverage_by.items():
        worst = max(shares, key=lambda share: abs(share - BOUND))
        third = _THIRDS[shares.index(worst)]
        why = f"it is the {third} third: {_why_uncovered(worst, scores.num_scored // 3)}"
        target = Target(f"{_title(run)}: worst third by {_FEATURES[feature]}", low=low, high=high)
        judged.append(target.judged(worst, why))
    return judged


def _rival_verdict(run: str, scores: Scores, rival: str) -> Verdict:
    limit_s = scores.pinball[rival]
    return Target(f"{_title(run)}: pinball loss below {rival}'s", "s", high=limit_s).judged(
        scores.pinball["tandem"],
        "on this trace its simpler statement is the better one; the pinball table has by how much.",
    )


def _why_uncovered(share: float, count: int) -> str:
    error = math.sqrt(BOUND * (1.0 - BOUND) / count)
    said = "too narrow" if share < BOUND else "too wide"
    return (
        f"{share:.3f} of {count:,} replies came within their bound: the bounds are {said} there. "
        f"Chance alone moves such a share by ±{2 * error:.3f}."
    )


def _why_loose(scores: Scores) -> str:
    said = "the forecast median and the real time have a rank correlation of only {:.2f}"
    said = said.format(scores.rank_correlation)
    if scores.rank_correlation < _INFORMATIVE:
        return (
            f"{said}: what is known on arrival (prompt length, load) says little about how long "
            "these replies take, so one bound for all is nearly as good as any."
        )
    return (
        f"bounds are {scores.tightness_vs_global:.1%} tighter than one bound for all; the upper "
        "ends of these replies differ less than their medians."
    )


def _scores(scores: Scores) -> dict[str, Any]:
    return {name: _rounded(value) for name, value in asdict(scores).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _figures(runs: Mapping[str, Scores]) -> Table:
    table = Table(title="Whole-reply forecasts, after 500 requests", title_justify="left")
    table.add_column("figure")
    for run in runs:
        table.add_column(_title(run), justify="right")

    def row(name: str, texts: Sequence[str]) -> None:
        table.add_row(name, *texts)

    every = list(runs.values())
    row("requests scored", [f"{one.num_scored:,}" for one in every])
    row("coverage of the 95 % bound", [f"{one.coverage:.3f}" for one in every])
    for feature, title in _FEATURES.items():
        row(f"  thirds by {title}", [_thirds(one.coverage_by[feature]) for one in every])
    row("  thirds by actual length", [_thirds(one.coverage_by_actual_length) for one in every])
    row("tighter than one bound for all", [f"{one.tightness_vs_global:.1%}" for one in every])
    for name in every[0].pinball:
        row(f"pinball loss, {name}", [f"{one.pinball[name]:.3f} s" for one in every])
    row("median error of the median", [f"{one.median_abs_rel_error:.1%}" for one in every])
    row("  of speed alone", [f"{one.median_abs_rel_error_given_length:.1%}" for one in every])
    return table


def _thirds(shares: Sequence[float]) -> str:
    return " ".join(f"{share:.3f}" for share in shares)


def _title(run: str) -> str:
    return run.replace("_", "-")
