"""What is measured and what is asked of it: samples and targets in, verdicts out."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

# By a measure's key, in the measure's unit.
Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on Tandem's median, or on its ratio to the reference's."""

    of: Literal["ratio", "value"]
    bound: Literal["at most", "at least"]
    limit: float

    def is_met(self, *, value: float, ratio: float) -> bool:
        measured = ratio if self.of == "ratio" else value
        if self.bound == "at most":
            return measured <= self.limit
        return measured >= self.limit

    def text(self, unit: str) -> str:
        """
        >>> Target("ratio", "at most", 1.1).text("ms")
        '≤ 1.10x'
        """
        sign = "≤" if self.bound == "at most" else "≥"
        limit = f"{self.limit:.2f}x" if self.of == "ratio" else f"{self.limit:g} {unit}"
        return f"{sign} {limit}"


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the report. Without targets it is shown and not judged."""

    key: str
    title: str
    unit: Literal["ms", "tok/s", "req/s"]
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """Some samples of one measure, in its unit."""

    count: int
    median: float
    p5: float
    p95: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What one server gave in one of its turns."""

    server: str
    is_tandem: bool
    samples: Samples


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measure on both sides; the reference's turns lie before and after Tandem's."""

    measure: Measure
    tandem: Summary
    reference: Summary
    reference_turns: tuple[Summary, ...]

    @property
    def ratio(self) -> float:
        """Tandem's median over the reference's."""
        return self.tandem.median / self.reference.median

    @property
    def drift(self) -> float:
        """How far the reference's turns lie apart, as a share of its median."""
        medians = [turn.median for turn in self.reference_turns]
        return (max(medians) - min(medians)) / self.reference.median

    @property
    def verdicts(self) -> list[tuple[Target, bool]]:
        measured = {"value": self.tandem.median, "ratio": self.ratio}
        return [(target, target.is_met(**measured)) for target in self.measure.targets]

    @property
    def is_met(self) -> bool:
        return all(is_met for _, is_met in self.verdicts)


def compare(measure: Measure, turns: Sequence[Turn]) -> Comparison:
    """Pools each side's turns, so that a drift over time weighs on both alike."""
    tandem = [turn.samples[measure.key] for turn in turns if turn.is_tandem]
    reference = [turn.samples[measure.key] for turn in turns if not turn.is_tandem]
    return Comparison(
        measure, summarize(_pooled(tandem)), summarize(_pooled(reference)),
        tuple(summarize(samples) for samples in reference),
    )  # fmt: skip


def summarize(samples: Sequence[float]) -> Summary:
    """
    Raises:
        statistics.StatisticsError: there are no samples.
    """
    return Summary(
        len(samples), statistics.median(samples), quantile(samples, 0.05), quantile(samples, 0.95)
    )


def quantile(samples: Sequence[float], share: float) -> float:
    """The value that `share` of the samples do not exceed, between neighbours where need be.

    >>> quantile([1.0, 2.0, 3.0], 0.5)
    2.0
    """
    ordered = sorted(samples)
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (at - below) * (ordered[above] - ordered[below])


def _pooled(turns: Sequence[Sequence[float]]) -> list[float]:
    return [value for samples in turns for value in samples]
