"""One replica of an engine in simulated time. Requests in, finish times out; knows no routing."""

import random
from dataclasses import replace
from math import inf

from serve_app.routing.record import record
from serve_app.simulator.batch.jump import Jump, StepNoise
from serve_app.simulator.batch.scheduler import Scheduler
from serve_app.simulator.batch.sequence import Sequence
from serve_app.simulator.timing import EngineTiming

__all__ = ["EngineTiming", "Finished", "Replica"]


@record
class Finished:
    """One whole reply; times in seconds on the clock of `submit` and `advance`."""

    request_id: int | str
    first_token_at_s: float
    finished_at_s: float
    output_tokens: int


class Replica:
    """Continuous batching on one accelerator, jumping from event to event.

        replica = Replica(LLAMA_70B_AWQ_A100, max_num_seqs=64, max_batched_tokens=2048,
                          kv_tokens=100_000, noise=random.Random(1))
        replica.submit("a", prompt_tokens=512, output_tokens=313, now=0.0)
        replica.advance(60.0)[0].finished_at_s

    While nobody joins or leaves the batch, its decode steps are one jump: their times grow by the
    same amount each step, so that the sum is a quadratic in the number of steps, and one draw
    stands for the noise of all of them, with their variance. A jump is drawn once, when it begins,
    and only a `submit` or `cancel` that changes the batch cuts it, never an `advance`: how often
    somebody looks changes nothing. The steps before a cut keep the jump's draw, which makes them
    vary a little less than steps drawn one by one.

    Times must not run backwards (ValueError). Requests of one instant share a step when nothing is
    asked in between. `slowdown` multiplies the time of every step from the next one on.
    """

    __slots__ = (
        "_done", "_jump", "_noise", "_now_s", "_scheduler", "_sequences", "_slowdown", "_start_s",
        "_timing",
    )  # fmt: skip

    def __init__(
        self,
        timing: EngineTiming,
        *,
        max_num_seqs: int,
        max_batched_tokens: int,
        kv_tokens: int,
        noise: random.Random,
        slowdown: float = 1.0,
    ) -> None:
        if not 1 <= max_num_seqs <= max_batched_tokens:
            raise ValueError(
                f"max_batched_tokens ({max_batched_tokens}) must hold one token of each of "
                f"max_num_seqs ({max_num_seqs}) sequences, of which there is at least one."
            )
        self._timing = timing
        self._noise = StepNoise(timing, noise)
        self._slowdown = slowdown
        self._scheduler = Scheduler(
            max_num_seqs=max_num_seqs,
            max_batched_tokens=max_batched_tokens,
            kv_tokens=kv_tokens,
        )
        self._sequences: dict[int | str, Sequence] = {}
        self._done: list[Finished] = []
        self._now_s = -inf
        # When the next jump begins, once it is planned; None while it is not.
        self._start_s = -inf
        self._jump: Jump | None = None

    @property
    def slowdown(self) -> float:
        return self._slowdown

    @slowdown.setter
    def slowdown(self, slowdown: float) -> None:
        self._slowdown = slowdown
        self._cut()

    @property
    def running(self) -> int:
        """Sequences in the batch, those in prefill included."""
        return self._scheduler.num_running

    @property
    def waiting(self) -> int:
        """Requests not yet scheduled."""
        return self._scheduler.num_waiting

    @property
    def num_requests(self) -> int:
        """Both together."""
        return len(self._sequences)

    @property
    def queued_tokens(self) -> int:
        """Tokens still to be prefilled."""
        return self._scheduler.queued_tokens

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache in use, 0 to 1."""
        scheduler, jump = self._scheduler, self._jump
        steps = int(jump.steps_by(self._now_s)) if jump else 0
        grown = scheduler.context_tokens + steps * scheduler.num_decoding
        return (grown + scheduler.reserved_tokens) / scheduler.kv_tokens

    @property
    def next_finish_s(self) -> float | None:
        """When to advance to: nothing finishes earlier unless something arrives; None when idle."""
        if self._done:
            return self._now_s
        if self._scheduler.is_idle:
            return None
        jump = self._jump or self._plan()
        return jump.end_s

    def submit(
        self,
        request_id: int | str,
        *,
        prompt_tokens: int,
        output_tokens: int,
        now: float,
        priority: float = 0.0,
        cached_tokens: int = 0,
    ) -> None:
        """Queues one request; lower `priority` is more urgent, equal ones go in order.

        cached_tokens: of the prompt's beginning, whose keys and values are in the cache already.
        Raises ValueError for an id that is here already and for tokens that can never fit.
        """
        scheduler = self._scheduler
        if request_id in self._sequences:
            raise ValueError(f"Request {request_id!r} is already in this replica.")
        if prompt_tokens < 1 or output_tokens < 1:
            raise ValueError(
                f"Request {request_id!r} needs a token of prompt and one of output, got "
                f"{prompt_tokens} and {output_tokens}."
            )
        if prompt_tokens + output_tokens - 1 > scheduler.kv_tokens:
            raise ValueError(
                f"Request {request_id!r} of {prompt_tokens} + {output_tokens} tokens never fits "
                f"{scheduler.kv_tokens} tokens of KV cache."
            )
        self._run(now)
        if scheduler.is_idle:
            self._start_s = now
        self._sequences[request_id] = scheduler.add(
            request_id, prompt_tokens, output_tokens, cached_tokens, priority
        )
        if scheduler.can_admit():
            self._cut()

    def cancel(self, request_id: int | str, *, now: float) -> None:
        """Drops a request; a running one leaves after the step under way. Unknown ids are fine."""
        self._run(now)
        sequence = self._sequences.pop(request_id, None)
        if sequence is None:
            return
        self._cut()
        self._scheduler.cancel(sequence, is_stepping=self._jump is not None)

    def advance(self, now: float) -> list[Finished]:
        """Runs the engine up to `now`; returns what finished since the last call, in order."""
        self._run(now)
        done = self._done
        if done:
            self._done = []
        return done

    def foresight(self) -> "Replica":
        """A copy to look ahead with: the same requests, and no noise from the next jump on."""
        scheduler, twins = self._scheduler.copy()
        copied = Replica(
            replace(self._timing, log_noise=0.0, hiccups_per_step=0.0),
            max_num_seqs=scheduler.max_num_seqs,
            max_batched_tokens=scheduler.max_batched_tokens,
            kv_tokens=scheduler.kv_tokens,
            noise=random.Random(0),
            slowdown=self._slowdown,
        )
        copied._scheduler = scheduler
        copied._sequences = {key: twins[s.order] for key, s in self._sequences.items()}
        copied._done, copied._now_s = list(self._done), self._now_s
        copied._start_s = self._start_s
        copied._jump = None if self._jump is None else replace(self._jump)
        return copied

    def _run(self, now: float) -> None:
        if now < self._now_s:
            raise ValueError(f"Time runs backwards: {now} s after {self._now_s} s.")
        self._now_s = now
        scheduler = self._scheduler
        while True:
            jump = self._jump
            if jump is None:
                if self._start_s >= now or scheduler.is_idle:
                    return
                jump = self._plan()
            if jump.end_s > now:
                return
            self._jump, self._start_s = None, jump.end_s
            self._noise.took(jump.steps)
            for sequence in scheduler.complete(jump.steps, jump.end_s):
                self._finish(sequence, jump.end_s)

    def _finish(self, sequence: Sequence, at_s: float) -> None:
        del self._sequences[sequence.request_id]
        first_s = sequence.first_token_at_s
        assert first_s is not None
        self._done.append(Finished(sequence.request_id, first_s, at_s, sequence.output_tokens))

    def _plan(self) -> Jump:
        """Draws the next jump: one step with prefill, or decode steps until the batch changes."""
        timing, scheduler = self._timing, self._scheduler
        steps, hiccup_s = self._noise.until_hiccup(scheduler.schedule())
        chunks, decodes = scheduler.chunks, scheduler.num_decoding
        # The n-th step reads n more tokens of each sequence than were there before the first.
        growth_s = timing.context_token_s * decodes / 2
        linear_s = timing.context_token_s * scheduler.context_tokens + growth_s
        prefill_tokens = 0
        for sequence, tokens in chunks:
            prefill_tokens += tokens
            before = sequence.target_tokens - sequence.pending
            linear_s += timing.pair_s * tokens * (before + tokens / 2)
        linear_s += timing.fixed_s(decodes, len(chunks), prefill_tokens)
        factor = self._slowdown * self._noise.factor(steps)
        end_s = self._start_s + steps * (linear_s + steps * growth_s) * factor + hiccup_s
        self._jump = Jump(self._start_s, steps, linear_s, growth_s, factor, end_s)
        return self._jump

    def _cut(self) -> None:
        """Ends the jump under way with its current step, so that the batch can change."""
        jump = self._jump
        if jump is not None and jump.steps > 1:
            jump.cut(self._now_s)
            if not jump.steps:
                self._jump = None
