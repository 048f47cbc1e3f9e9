"""All that the router knows of one tier; the only mutable part of routing."""

from collections.abc import Mapping
from typing import Any, Final

from mypy_extensions import mypyc_attr

from serve_app.routing.candidate import Candidate
from serve_app.routing.latency import MetLoad, ReplyTime, with_met_load
from serve_app.routing.learning.calibration import Calibrator
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.lengths.reply import LengthQuery
from serve_app.routing.live.demand import Demand, Signal
from serve_app.routing.live.facts import EngineFacts, Outcome, TierSettings
from serve_app.routing.live.ledger import Ledger
from serve_app.routing.live.prices import ShadowPrice
from serve_app.routing.live.promises import Promises
from serve_app.routing.types import TierView

_TRUSTED_S: Final = 300.0
_TRUST_HALF_LIFE_S: Final = 600.0
# vLLM's own default. Too few would order replicas in plenty while the first one starts.
_ASSUMED_SLOTS: Final = 256


@mypyc_attr(allow_interpreted_subclasses=True)
class TierState:
    """One tier: configured, described by its engine, loaded, learned.

    Args:
        all_lengths: reply lengths on all tiers together; None when there is no other tier.
    """

    def __init__(
        self,
        settings: TierSettings,
        *,
        default_output_tokens: int,
        all_lengths: OutputLengths | None = None,
    ) -> None:
        self._settings = settings
        self._default_output_tokens = default_output_tokens
        self._all_lengths = all_lengths
        self._facts: EngineFacts | None = None
        self._kept: Mapping[str, Any] | None = None
        self._observed_at_s: float | None = None
        self._was_crowded = False
        self.calibrator = Calibrator(is_measured=False)
        self.lengths = self._no_lengths()
        self.price = ShadowPrice()
        self.ledger = Ledger()
        self.promises = Promises()
        self.demand = Demand()
        self.num_replicas = 0

    @property
    def is_ready(self) -> bool:
        return self._facts is not None and self.num_replicas > 0

    @property
    def has_run(self) -> bool:
        """Whether its engine was ever heard of."""
        return self._facts is not None

    def signal(self, now: float) -> Signal:
        """How much of it is wanted, for whoever decides how many replicas it has."""
        max_num_seqs = self._facts.max_num_seqs if self._facts else _ASSUMED_SLOTS
        return self.demand.signal(self.ledger.num_sequences, max_num_seqs, now=now)

    @property
    def slots(self) -> int:
        """Sequences that all replicas decode at once."""
        max_num_seqs = self._facts.max_num_seqs if self._facts else 1
        return max_num_seqs * max(1, self.num_replicas)

    def engine_started(self, facts: EngineFacts) -> None:
        """Takes what an engine said; what was learned about another one is forgotten."""
        if self._facts == facts:
            return
        is_other = self._facts is not None and self._facts.fingerprint != facts.fingerprint
        self._facts = facts
        self.calibrator = Calibrator(is_measured=facts.profile is not None)
        if is_other:
            self.lengths = self._no_lengths()
        self._take_up_kept()

    def view(self, now: float, *, share_key: str = "", is_returning: bool = False) -> TierView:
        """A snapshot to decide on.

        Args:
            share_key: whose use of the tier is told. is_returning: the caller was promised a
                place, so places kept for others do not count as load.
        """
        settings, facts = self._settings, self._facts
        max_num_seqs = facts.max_num_seqs if facts else 1
        silence_s = None if self._observed_at_s is None else now - self._observed_at_s
        return TierView(
            tier=settings.tier,
            quality=settings.quality,
            usd_per_hour=settings.usd_per_hour,
            context_tokens=facts.context_tokens if facts else 0,
            max_num_seqs=max_num_seqs,
            profile=(facts.profile if facts else None) or settings.prior,
            load=self.ledger.load(
                replicas=self.num_replicas,
                max_num_seqs=max_num_seqs,
                now=now,
                reserved=0.0 if is_returning else self._reserved(now),
            ),
            lengths=self.lengths,
            calibrator=self.calibrator,
            price=self.price,
            trust=_trust(silence_s),
            silence_s=silence_s,
            used_share=self.ledger.sequences_of(share_key) / self.slots,
            was_crowded=self._was_crowded,
            is_ready=self.is_ready,
            min_prompt_tokens=settings.min_prompt_tokens,
            max_prompt_tokens=settings.max_prompt_tokens,
        )

    def observe(
        self,
        candidate: Candidate,
        query: LengthQuery,
        outcome: Outcome,
        met: MetLoad | None,
        *,
        now: float,
    ) -> None:
        """Learns from one request that was sent here, finished or not; `met`: under which load."""
        self._observed_at_s = now
        if outcome.is_finished and outcome.output_tokens is not None:
            self.lengths.observe(query, outcome.output_tokens, is_cut=outcome.is_cut)
            if query.sequences > 1:
                # Their mean length is told, and the longest one set the time.
                return
            self.calibrator.observe(
                candidate.forecast,
                output_tokens=outcome.output_tokens,
                e2e_s=outcome.elapsed_s,
                met=self._as_met(candidate, met),
                ttft_s=outcome.ttft_s,
            )
            return
        reached = outcome.output_tokens or candidate.time.tokens_within(outcome.elapsed_s)
        if reached >= 1:
            self.lengths.observe(query, min(reached, query.most), is_cut=True)
        self.calibrator.observe_cut_off(candidate.forecast, elapsed_s=outcome.elapsed_s)

    def slot_s(self, candidate: Candidate) -> float:
        """Seconds that a reply of expected length holds its slot while all slots are taken.

        Its own steps, and a prefill like its own for each slot: that is how many begin meanwhile.
        """
        facts, speeds = self._facts, self.calibrator.speeds
        if facts is None:
            return candidate.e2e_s
        profile, slots = facts.profile or self._settings.prior, facts.max_num_seqs
        step_s = profile.step_s(slots) * speeds.step(slots)
        prefill_s = candidate.forecast.raw.prefill_s * speeds.prefill
        return max(0.0, candidate.output_tokens - 1.0) * step_s + slots * prefill_s

    def was_wanted(self, worth: float | None, *, is_crowded: bool) -> None:
        """Notes that an idle machine would have served a request here."""
        self.price.wanted(worth, is_crowded=is_crowded)
        self._was_crowded = is_crowded

    def snapshot(self) -> dict[str, Any] | None:
        """What was learned, as plain values; what was kept, before the engine is known."""
        if self._facts is None:
            return None if self._kept is None else dict(self._kept)
        return {
            "identity": self._facts.identity,
            "calibrator": self.calibrator.snapshot(),
            "lengths": self.lengths.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Keeps what `snapshot` gave until the engine is known; used if it is the same one."""
        self._kept = snapshot
        self._take_up_kept()

    def _reserved(self, now: float) -> float:
        """Sequences whose promised places a request of now would take."""
        if self.promises.next_due_s is None:
            return 0.0
        stay_s = self.ledger.turnover_s
        leaving_per_s = self.ledger.num_sequences / stay_s if stay_s else 0.0
        return self.promises.reserved(now, stay_s=stay_s, leaving_per_s=leaving_per_s)

    def _as_met(self, candidate: Candidate, met: MetLoad | None) -> ReplyTime:
        """The raw prediction under the load that came instead of the one that was expected."""
        raw, facts = candidate.forecast.raw, self._facts
        if met is None or facts is None:
            return raw
        profile = facts.profile or self._settings.prior
        return with_met_load(profile, raw, met, max_num_seqs=facts.max_num_seqs)

    def _no_lengths(self) -> OutputLengths:
        return OutputLengths(self._default_output_tokens, self._all_lengths)

    def _take_up_kept(self) -> None:
        kept = self._kept
        if kept is None or self._facts is None or kept.get("identity") != self._facts.identity:
            return
        self._kept = None
        calibrator = Calibrator(is_measured=self._facts.profile is not None)
        lengths = self._no_lengths()
        try:
            calibrator.restore(kept["calibrator"])
            lengths.restore(kept["lengths"])
        except (ValueError, KeyError, TypeError):
            # Written by another version, or damaged: it is learned again.
            return
        self.calibrator, self.lengths = calibrator, lengths


def _trust(silence_s: float | None) -> float:
    """How much of what was learned still counts: all for five minutes, then less and less."""
    if silence_s is None or silence_s <= _TRUSTED_S:
        return 1.0
    return float(0.5 ** ((silence_s - _TRUSTED_S) / _TRUST_HALF_LIFE_S))
