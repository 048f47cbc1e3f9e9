"""What each contender reached: turns in; medians, ranges and winners out."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serve_app.bench.comparison.contenders import Contender
from serve_app.bench.comparison.turns import Turn
from serve_app.bench.traffic.scores import Scores, scores, usd_per_1k_tokens


@dataclass(frozen=True, slots=True)
class Measure:
    """A line: what is read from a turn's Scores, and whether more of it is better."""

    key: str
    title: str
    digits: int
    is_more_better: bool
    read: Callable[[Scores], float]


MEASURES = (
    Measure("attainment", "attainment", 3, True, lambda s: s.attainment),
    Measure("goodput_per_s", "goodput /s", 2, True, lambda s: s.goodput_per_s),
    Measure("quality_goodput_per_s", "quality /s", 2, True, lambda s: s.quality_goodput_per_s),
    Measure("p90_e2e_s", "P90 s", 2, False, lambda s: s.p90_e2e_s),
    Measure("tokens_per_s", "tokens/s", 0, True, lambda s: s.tokens_per_s),
)
OVERHEAD = Measure("overhead_ms", "overhead ms", 1, False, lambda _: 0.0)
COST = Measure("usd_per_1k_tokens", "$ per 1K", 5, False, lambda _: 0.0)
COLUMNS = (*MEASURES, OVERHEAD, COST)


@dataclass(frozen=True, slots=True)
class Spread:
    """One measure over the rounds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Row:
    """One contender over all rounds; `by_measure` by the keys of COLUMNS.

    turns: the scores of each round. failures: 5xx or no answer, of all rounds.
    """

    contender: Contender
    by_measure: Mapping[str, Spread]
    turns: tuple[Scores, ...]

    @property
    def failures(self) -> int:
        return sum(turn.failures for turn in self.turns)


def rows(
    turns: Sequence[Turn],
    contenders: Sequence[Contender],
    *,
    reference: str,
    duration_s: float,
    quality: Mapping[str, float],
) -> list[Row]:
    """
    Args:
        reference: the contender whose single token is the engine alone; the others' overhead is
            the difference to it in the same round.
    """
    engine_s = {turn.round: statistics.median(turn.probes_s) for turn in turns
                if turn.key == reference}  # fmt: skip
    return [
        _row(contender, [t for t in turns if t.key == contender.key], engine_s, duration_s, quality)
        for contender in contenders
    ]


def winners(rows: Sequence[Row]) -> dict[str, Row]:
    """Who has the best median of each measure."""
    return {
        measure.key: (max if measure.is_more_better else min)(
            rows, key=lambda row: row.by_measure[measure.key].median
        )
        for measure in COLUMNS
    }


def _row(
    contender: Contender,
    turns: Sequence[Turn],
    engine_s: Mapping[int, float],
    duration_s: float,
    quality: Mapping[str, float],
) -> Row:
    scored = [scores(turn.records, duration_s=duration_s, quality=quality) for turn in turns]
    spreads = {m.key: _spread([m.read(one) for one in scored]) for m in MEASURES}
    spreads[OVERHEAD.key] = _spread(
        [1e3 * (statistics.median(turn.probes_s) - engine_s[turn.round]) for turn in turns]
    )
    spreads[COST.key] = _spread([
        usd_per_1k_tokens(
            contender.usd_per_hour, tokens=one.prompt_tokens + one.output_tokens,
            duration_s=one.busy_s,
        )
        for one in scored
    ])  # fmt: skip
    return Row(contender, spreads, tuple(scored))


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))
