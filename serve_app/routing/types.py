"""The nouns of a choice: what is asked, what is known, what was decided. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serve_app.routing.calibration import Correction
from serve_app.routing.latency import LatencyProfile, ReplyTime, TierLoad

Reason = Literal[
    "best-quality-within-slo", "cheapest-within-slo", "slo-degraded", "context-window",
    "pinned", "fallback-error", "breaker-open", "no-slo",
]  # fmt: skip
Exclusion = Literal["starting", "not-pinned", "context-window", "prompt-rule"]


@dataclass(frozen=True, slots=True)
class Slo:
    """What the caller wants, in milliseconds; None where nothing was asked.

    attainment: the probability that a feasible tier must reach. source: who asked (body, header,
    class, timeout, default).
    """

    e2e_ms: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    attainment: float = 0.95
    is_degradable: bool = False
    source: str = "body"

    @property
    def is_empty(self) -> bool:
        return self.e2e_ms is None and self.ttft_ms is None and self.tpot_ms is None


@dataclass(frozen=True, slots=True)
class RoutingRequest:
    """A request as the router sees it.

    prompt_tokens: per tier, because each tier counts with its own tokenizer. max_tokens: None when
    the caller set no limit. sequences: how many replies the engine decodes for it (`n`).
    """

    prompt_tokens: Mapping[str, int]
    slo: Slo
    max_tokens: int | None = None
    min_tokens: int = 0
    expected_output_tokens: int | None = None
    sequences: int = 1
    is_length_fixed: bool = False
    pinned_tier: str | None = None
    task: str = "default"


@dataclass(frozen=True, slots=True)
class TierView:
    """One tier at one moment: facts, load and what was learned of it."""

    tier: str
    quality: Mapping[str, float]
    usd_per_hour: float
    context_tokens: int
    max_num_seqs: int
    profile: LatencyProfile
    correction: Correction
    load: TierLoad
    mean_output_tokens: float
    is_ready: bool = True
    min_prompt_tokens: int = 0
    max_prompt_tokens: int | None = None

    def quality_for(self, task: str) -> float:
        return self.quality.get(task, self.quality["default"])


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one tier would do with the request.

    time: predicted now; idle_time: predicted on an empty machine; both corrected by what was
    learned. probability: that the SLO is met now, 0 to 1; 1 when there is none. p95_e2e_s: the
    bound that 95 % meet. correction_factor: what the raw prediction was multiplied with.
    """

    tier: str
    prompt_tokens: int
    output_tokens: int
    time: ReplyTime
    idle_time: ReplyTime
    p95_e2e_s: float
    probability: float
    idle_probability: float
    smallest_e2e_s: float
    largest_output_tokens: int
    quality: float
    cost_usd: float
    correction_factor: float
    excluded: Exclusion | None
    is_feasible: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Which tier answers and why; `selected` is None when none should."""

    selected: Candidate | None
    reason: Reason | None
    slo: Slo
    candidates: tuple[Candidate, ...]

    @property
    def eligible(self) -> tuple[Candidate, ...]:
        return tuple(candidate for candidate in self.candidates if candidate.excluded is None)
