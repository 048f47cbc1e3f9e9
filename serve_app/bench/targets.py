"""What is asked of a measured value: a range, a verdict, a row and a line of JSON."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Target:
    """A range for a value in `unit`; None where it has no end.

    >>> Target("coverage", low=0.94, high=0.96).text
    '0.94 to 0.96'
    """

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self._with_unit(self.high)}"
        if self.low is not None:
            return f"≥ {self._with_unit(self.low)}"
        return "-" if self.high is None else f"≤ {self._with_unit(self.high)}"

    def judged(self, value: float, why: str = "") -> "Verdict":
        """Whether the value lies within; `why` explains it if not. NaN never does."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        is_met = low <= value <= high
        return Verdict(self, value, is_met, None if is_met or not why else why)

    def _with_unit(self, value: float) -> str:
        return f"{value:.3g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what was measured; why: what a miss means, where that is known."""

    target: Target
    value: float
    is_met: bool
    why: str | None

    def as_document(self) -> dict[str, Any]:
        return {
            "name": self.target.name,
            "target": self.target.text,
            "value": round(self.value, 4),
            "is_met": self.is_met,
            "why": self.why,
        }


def table_of(title: str, verdicts: Sequence[Verdict]) -> Table:
    """Each value beside what is asked of it."""
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("target")
    table.add_column("verdict")
    for verdict in verdicts:
        target = verdict.target
        said = "[green]met[/]" if verdict.is_met else "[red]missed[/]"
        table.add_row(target.name, f"{verdict.value:.3f} {target.unit}".rstrip(), target.text, said)
    return table
