"""What a choice rests on: what is asked, and what is known of each tier. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.config import Chain
from serve_app.routing.latency import LatencyProfile, TierLoad
from serve_app.routing.learning.calibration import Calibrator
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.lengths.reply import LengthQuery
from serve_app.routing.live.prices import ShadowPrice
from serve_app.routing.record import record


@dataclass(frozen=True, slots=True)
class Slo:
    """What the caller wants, in milliseconds; None where nothing was asked.

    attainment: the probability that a feasible tier must reach. on_infeasible: what to try, in
    this order, when no tier reaches it; whatever is left after the last is a refusal. source: who
    asked (body, header, class, timeout, default).
    """

    e2e_ms: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    attainment: float = 0.95
    on_infeasible: Chain = ("reject",)
    is_insured: bool = False
    source: str = "body"

    @property
    def is_empty(self) -> bool:
        return self.e2e_ms is None and self.ttft_ms is None and self.tpot_ms is None


@record
class RoutingRequest:
    """A request as the router sees it.

    prompt_tokens: per tier, because each tier counts with its own tokenizer. max_tokens: None when
    the caller set no limit. sequences: how many replies the engine decodes for it (`n`). route:
    what kind of request its length is learned with. share_key: whose share of capacity it uses.
    elapsed_s: of its SLO, already gone. is_returning: it was told when to come back, and did.
    draw: uniform in [0, 1), a tier is explored when it is small; an argument, so that a decision
    can be repeated. tiers: those that can answer it; None for all.
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
    route: str = "default"
    share_key: str = ""
    max_share: float = 1.0
    elapsed_s: float = 0.0
    is_returning: bool = False
    draw: float = 1.0
    tiers: frozenset[str] | None = None

    def length_query(self, prompt_tokens: int, context_tokens: int) -> LengthQuery:
        """The reply's limits: `max_tokens`, `min_tokens`, `ignore_eos` and the context window."""
        most = max(1, context_tokens - prompt_tokens)
        if self.max_tokens is not None:
            most = min(most, max(1, self.max_tokens))
        least = 1
        if self.is_length_fixed:
            least = most
        elif self.min_tokens > 1:
            least = min(most, self.min_tokens)
        return LengthQuery(
            self.route, prompt_tokens, self.expected_output_tokens, least, most, self.sequences
        )


@record
class TierView:
    """One tier at one moment: facts, load and what was learned of it.

    lengths, calibrator, price: read, never taught, while a decision is made. trust: how much of
    what was learned still counts. silence_s: since the tier last taught anything; None before it
    did. used_share: part of its slots that the request's share key holds. was_crowded: it was out
    of reach for the load of the moment, the last time it was wanted.
    """

    tier: str
    quality: Mapping[str, float]
    usd_per_hour: float
    context_tokens: int
    max_num_seqs: int
    profile: LatencyProfile
    load: TierLoad
    lengths: OutputLengths
    calibrator: Calibrator
    price: ShadowPrice
    trust: float = 1.0
    silence_s: float | None = None
    used_share: float = 0.0
    was_crowded: bool = False
    is_ready: bool = True
    min_prompt_tokens: int = 0
    max_prompt_tokens: int | None = None

    def quality_for(self, task: str) -> float:
        return self.quality.get(task, self.quality["default"])

    @property
    def fill(self) -> float:
        """Sequences per decode slot."""
        return self.load.sequences / self.max_num_seqs
