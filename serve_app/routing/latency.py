"""How long a whole reply takes on one tier. Speeds and load in, seconds out; knows no clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LatencyProfile:
    """Speed of one replica: prefill(n) = a + b n and step(B) = c + d B, in seconds.

    Two lines are enough: the 70B prefill and decode times on A100 and H100 that splitwise-sim
    publishes (perf_model.csv, ISCA'24) follow them within 1-10 %.
    """

    prefill_base_s: float
    prefill_per_token_s: float
    step_base_s: float
    step_per_sequence_s: float
    is_measured: bool = False

    def prefill_s(self, tokens: int) -> float:
        """Seconds to read a prompt of `tokens` on an idle replica."""
        return self.prefill_base_s + self.prefill_per_token_s * tokens

    def step_s(self, sequences: float) -> float:
        """Seconds of one decode step with `sequences` in the batch."""
        return self.step_base_s + self.step_per_sequence_s * sequences


@dataclass(frozen=True, slots=True)
class TierLoad:
    """What is ahead of a new request on the replica that would take it.

    sequences: already decoding there. queued_tokens: prompt tokens ahead whose prefill is not
    done. slot_wait_s: until a decode slot frees up, in seconds; 0 while there is a free one.
    """

    sequences: float = 0.0
    queued_tokens: float = 0.0
    slot_wait_s: float = 0.0


IDLE = TierLoad()


@dataclass(frozen=True, slots=True)
class ReplyTime:
    """One predicted reply, in seconds: wait, prefill, then `output_tokens - 1` decode steps."""

    wait_s: float
    prefill_s: float
    step_s: float
    output_tokens: int

    @property
    def ttft_s(self) -> float:
        return self.wait_s + self.prefill_s

    @property
    def e2e_s(self) -> float:
        return self.ttft_s + max(0, self.output_tokens - 1) * self.step_s

    def scaled(self, factor: float) -> "ReplyTime":
        return ReplyTime(
            self.wait_s * factor, self.prefill_s * factor, self.step_s * factor, self.output_tokens
        )

    def with_output_tokens(self, output_tokens: int) -> "ReplyTime":
        return ReplyTime(self.wait_s, self.prefill_s, self.step_s, output_tokens)


def predict(
    profile: LatencyProfile,
    load: TierLoad,
    *,
    prompt_tokens: int,
    output_tokens: int,
    sequences: int,
    max_num_seqs: int,
) -> ReplyTime:
    """Predicts one reply that joins a running batch.

    Prefills run one after another, so queued prompt tokens delay the first token; everybody in
    the batch decodes in step, so its size sets the pace of each later token.
    """
    batch = min(load.sequences + sequences, float(max_num_seqs))
    return ReplyTime(
        wait_s=load.slot_wait_s + load.queued_tokens * profile.prefill_per_token_s,
        prefill_s=profile.prefill_s(prompt_tokens),
        step_s=profile.step_s(batch),
        output_tokens=output_tokens,
    )
