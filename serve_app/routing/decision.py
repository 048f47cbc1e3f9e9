"""What was decided about a request, and what it was decided between. Data."""

import math
from dataclasses import dataclass, field
from typing import Literal

from serve_app.routing.candidate import Candidate
from serve_app.routing.types import Slo

Reason = Literal[
    "best-quality-within-slo", "cheapest-within-slo", "slo-degraded", "context-window",
    "pinned", "fallback-error", "breaker-open", "no-slo",
]  # fmt: skip


# Never changed, but not frozen, and what is worked out is kept by hand; see `Candidate`.
@dataclass(slots=True)
class Decision:
    """Which tier answers and why; `selected` is None when none should now.

    is_queued: waiting in the router may help. fitted_max_tokens: the shorter reply that makes it
    feasible. insured: a better tier that will only probably make it, tried beside `selected`.
    """

    selected: Candidate | None
    reason: Reason | None
    slo: Slo
    candidates: tuple[Candidate, ...]
    is_queued: bool = False
    is_exploration: bool = False
    fitted_max_tokens: int | None = None
    insured: Candidate | None = None
    _wanted: tuple[Candidate | None] | None = field(default=None, init=False, repr=False)

    @property
    def eligible(self) -> tuple[Candidate, ...]:
        return tuple(candidate for candidate in self.candidates if candidate.excluded is None)

    @property
    def wanted(self) -> Candidate | None:
        """The best that an idle machine would allow; the selected one when it is that.

        Worked out when somebody asks, which can wait until the request is on its way.
        """
        if self._wanted is None:
            selected = self.selected
            least = selected.quality if selected is not None and selected.is_feasible else -math.inf
            better = [
                c for c in self.candidates
                if c.quality > least and not c.is_feasible and c.is_feasible_when_idle
            ]  # fmt: skip
            self._wanted = (max(better, key=lambda c: c.quality, default=selected),)
        return self._wanted[0]

    @property
    def is_degraded_for_capacity(self) -> bool:
        """The wanted tier was out of reach only because of its load."""
        return self.wanted is not None and (
            self.selected is None or self.selected.tier != self.wanted.tier
        ) and not self.wanted.is_feasible  # fmt: skip
