"""All that the router knows of its tiers; the only mutable part of routing."""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.routing.calibration import Calibrator
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.ledger import Ledger
from serve_app.routing.lengths import OutputLengths
from serve_app.routing.types import Candidate, TierView


@dataclass(frozen=True, slots=True)
class TierSettings:
    """What the configuration says of one tier; units as in `deployments.spec.TierRouting`."""

    tier: str
    quality: Mapping[str, float]
    usd_per_hour: float
    min_prompt_tokens: int
    max_prompt_tokens: int | None
    prior: LatencyProfile


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a running engine said of itself; profile: None until its speed was measured."""

    profile: LatencyProfile | None
    context_tokens: int
    max_num_seqs: int


class TierState:
    """One tier: configured, described by its engine, loaded, learned."""

    def __init__(self, settings: TierSettings, *, default_output_tokens: int) -> None:
        self._settings = settings
        self._facts: EngineFacts | None = None
        self._calibrator = Calibrator(is_measured=False)
        self._lengths = OutputLengths(default_output_tokens)
        self.ledger = Ledger()
        self.num_replicas = 0

    @property
    def is_ready(self) -> bool:
        return self._facts is not None and self.num_replicas > 0

    def engine_started(self, facts: EngineFacts) -> None:
        """Takes what an engine said; what was learned about another speed is forgotten."""
        if self._facts == facts:
            return
        self._facts = facts
        self._calibrator = Calibrator(is_measured=facts.profile is not None)

    def view(self, now: float) -> TierView:
        settings, facts = self._settings, self._facts
        max_num_seqs = facts.max_num_seqs if facts else 1
        return TierView(
            tier=settings.tier,
            quality=settings.quality,
            usd_per_hour=settings.usd_per_hour,
            context_tokens=facts.context_tokens if facts else 0,
            max_num_seqs=max_num_seqs,
            profile=(facts.profile if facts else None) or settings.prior,
            correction=self._calibrator.correction(),
            load=self.ledger.load(replicas=self.num_replicas, max_num_seqs=max_num_seqs, now=now),
            mean_output_tokens=self._lengths.mean_tokens,
            is_ready=self.is_ready,
            min_prompt_tokens=settings.min_prompt_tokens,
            max_prompt_tokens=settings.max_prompt_tokens,
        )

    def observe(
        self, candidate: Candidate, *, output_tokens: int, is_cut: bool, actual_s: float
    ) -> None:
        """Learns from one finished reply; `actual_s` from dispatch to last byte, in seconds.

        The speed is judged at the length that came, not at the one that was expected: the two
        errors have different causes and are learned apart.
        """
        self._lengths.observe(output_tokens, is_cut=is_cut)
        corrected_s = candidate.time.with_output_tokens(output_tokens).e2e_s
        raw_s = corrected_s / candidate.correction_factor
        self._calibrator.observe(predicted_s=raw_s, actual_s=actual_s)
