"""How long a reply takes on one tier. Speeds and load in, seconds out; knows no clock."""

import math
from dataclasses import dataclass, fields
from typing import Any, Final

from serve_app.routing.record import record

_MOST_BLOCKED: Final = 0.9


@dataclass(frozen=True, slots=True)
class LatencyProfile:
    """Speed of one replica, in seconds: prefill(n) = a + b n + c n^2 and step(B) = d + e B.

    Two lines are nearly enough: the 70B prefill and decode times on A100 and H100 that
    splitwise-sim publishes (perf_model.csv, ISCA'24) follow them within 1-10 %. The square is
    attention, which shows in prompts of many thousand tokens.
    """

    prefill_base_s: float
    prefill_per_token_s: float
    step_base_s: float
    step_per_sequence_s: float
    is_measured: bool = False
    prefill_per_token2_s: float = 0.0

    # It goes from process to process, which compiled classes do not by themselves.
    def __reduce__(self) -> tuple[Any, ...]:
        return LatencyProfile, tuple(getattr(self, field.name) for field in fields(self))

    def prefill_s(self, tokens: float) -> float:
        """Seconds to read a prompt of `tokens` on an idle replica."""
        per_token_s = self.prefill_per_token_s + self.prefill_per_token2_s * tokens
        return self.prefill_base_s + per_token_s * tokens

    def step_s(self, sequences: float) -> float:
        """Seconds of one decode step with `sequences` in the batch."""
        return self.step_base_s + self.step_per_sequence_s * sequences


@record
class TierLoad:
    """What a new request meets on the replica that would take it.

    sequences: already decoding there. mean_sequences: lately, in the mean over time. turnover_s:
    how long a reply stays, in the mean. queued_tokens: prompt tokens ahead whose prefill is not
    done. slot_wait_s: until a decode slot frees up; 0 while there is a free one. blocked_share:
    share of the time that prefills of new arrivals take from decoding. cached_share: share of
    prompt tokens that the prefix cache spared lately.
    """

    sequences: float = 0.0
    queued_tokens: float = 0.0
    slot_wait_s: float = 0.0
    mean_sequences: float | None = None
    turnover_s: float = 0.0
    blocked_share: float = 0.0
    cached_share: float = 0.0


IDLE: Final = TierLoad()


@record
class ReplyTime:
    """One predicted reply, in seconds, as a line in its output tokens.

    wait_s: before its prefill begins; slot_wait_s: of that, until a decode slot frees up. fixed_s:
    what every reply costs beside engine work. batch: sequences that share a step.
    """

    wait_s: float
    prefill_s: float
    step_s: float
    batch: float = 1.0
    fixed_s: float = 0.0
    slot_wait_s: float = 0.0

    @property
    def ttft_s(self) -> float:
        return self.fixed_s + self.wait_s + self.prefill_s

    def e2e_s(self, output_tokens: float) -> float:
        """Wait, prefill, then `output_tokens - 1` decode steps."""
        later_s = (output_tokens - 1.0) * self.step_s if output_tokens > 1.0 else 0.0
        return self.ttft_s + later_s

    def tokens_within(self, limit_s: float) -> float:
        """Output tokens that are finished after `limit_s`; below 1 when not even the first is."""
        left_s = limit_s - self.ttft_s
        if left_s < 0:
            return 0.0
        return 1.0 + left_s / self.step_s if self.step_s > 0 else math.inf


def predict(
    profile: LatencyProfile,
    load: TierLoad,
    *,
    prompt_tokens: int,
    output_tokens: float,
    sequences: int,
    max_num_seqs: int,
) -> ReplyTime:
    """Predicts one reply that joins a running batch.

    Prefills run one after another, so queued prompt tokens delay the first token; everybody in
    the batch decodes in step, so its size sets the pace of each later token, and prefills that
    arrive meanwhile stretch it by 1 / (1 - blocked_share).

    Args:
        output_tokens: how many are expected, which says how far ahead the batch matters.
    """
    fresh_tokens = prompt_tokens * (1.0 - load.cached_share)
    wait_s = load.slot_wait_s + load.queued_tokens * profile.prefill_per_token_s
    prefill_s = profile.prefill_s(fresh_tokens)
    most, now = float(max_num_seqs), load.sequences + sequences
    if now > most:
        now = most
    horizon_s = wait_s + prefill_s + output_tokens * profile.step_s(now)
    batch = _expected_batch(load, now, sequences, max_num_seqs, horizon_s)
    step_s = _step_s(profile, batch, load.blocked_share)
    return ReplyTime(wait_s, prefill_s, step_s, batch, slot_wait_s=load.slot_wait_s)


@record
class MetLoad:
    """What a reply really met on an average replica, in the mean over its time: sequences (its
    own included), the share of time that others' prefills took, and until a slot was free; None
    where that could not be seen.
    """

    sequences: float
    blocked_share: float
    slot_wait_s: float | None = None


def with_met_load(
    profile: LatencyProfile, predicted: ReplyTime, met: MetLoad, *, max_num_seqs: int
) -> ReplyTime:
    """The prediction as it would have been had the load been foreseen."""
    batch = min(max(1.0, met.sequences), float(max_num_seqs))
    step_s = _step_s(profile, batch, met.blocked_share)
    slot_wait_s = predicted.slot_wait_s if met.slot_wait_s is None else met.slot_wait_s
    wait_s = predicted.wait_s - predicted.slot_wait_s + slot_wait_s
    return ReplyTime(wait_s, predicted.prefill_s, step_s, batch, predicted.fixed_s, slot_wait_s)


def _step_s(profile: LatencyProfile, batch: float, blocked_share: float) -> float:
    blocked = blocked_share if blocked_share < _MOST_BLOCKED else _MOST_BLOCKED
    return profile.step_s(batch) / (1.0 - blocked)


def _expected_batch(
    load: TierLoad, now: float, sequences: int, max_num_seqs: int, horizon_s: float
) -> float:
    """The batch in the mean over the reply: who is there leaves, who usually comes arrives.

    Those of now remain with exp(-t / turnover_s), so over a horizon T their part is
    (1 - exp(-x)) / x with x = T / turnover_s.
    """
    if load.mean_sequences is None or load.turnover_s <= 0 or horizon_s <= 0:
        return now
    turnovers = horizon_s / load.turnover_s
    remaining = -math.expm1(-turnovers) / turnovers
    usual = min(load.mean_sequences + sequences, float(max_num_seqs))
    return remaining * now + (1.0 - remaining) * usual
