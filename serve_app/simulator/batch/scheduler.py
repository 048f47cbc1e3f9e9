"""Which sequences share an engine's next step. Sequences in, batches out; knows no seconds."""

from dataclasses import replace
from heapq import heappop, heappush

from serve_app.simulator.batch.sequence import Sequence, WaitingQueue


class Scheduler:
    """Iteration-level batching as vLLM v1 does it: decodes first, then prefill chunks.

    Each step has a budget of `max_batched_tokens`: one for every decoding sequence, the rest for
    prefills in order. A prompt is admitted when a slot is free and all of it fits the KV cache
    (vLLM's `scheduler_reserve_full_isl`). When decodes outgrow the cache, the least urgent and
    youngest sequence loses its KV and is prefilled again later, output so far included.

    KV is counted in tokens: the half block that a sequence wastes on average is below one percent
    of a usual context.
    """

    __slots__ = (
        "_arrivals", "_cancelled", "_decodes", "_prefilling", "_waiting", "chunks",
        "context_tokens", "kv_tokens", "max_batched_tokens", "max_num_seqs", "num_decoding",
        "queued_tokens", "reserved_tokens", "step",
    )  # fmt: skip

    def __init__(self, *, max_num_seqs: int, max_batched_tokens: int, kv_tokens: int) -> None:
        self.max_num_seqs = max_num_seqs
        self.max_batched_tokens = max_batched_tokens
        self.kv_tokens = kv_tokens
        self._waiting = WaitingQueue()
        # In order of admission; one at most is carried over to the next step, for want of budget.
        self._prefilling: list[Sequence] = []
        # Keyed by the step that finishes each, so that many steps are one jump.
        self._decodes: list[tuple[int, int, Sequence]] = []
        self._cancelled: list[Sequence] = []
        self._arrivals = 0
        self.chunks: list[tuple[Sequence, int]] = []
        self.step = 0
        self.num_decoding = 0
        self.context_tokens = 0
        self.reserved_tokens = 0
        self.queued_tokens = 0

    @property
    def num_running(self) -> int:
        return self.num_decoding + len(self._prefilling)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        return not (self.num_decoding or self._prefilling or self._waiting)

    def add(
        self,
        request_id: int | str,
        prompt_tokens: int,
        output_tokens: int,
        cached_tokens: int,
        priority: float,
    ) -> Sequence:
        """Appends a request to the waiting queue."""
        order = self._arrivals
        self._arrivals = order + 1
        # The last token of a cached prompt is computed all the same: it yields the first output.
        pending = max(1, prompt_tokens - cached_tokens)
        sequence = Sequence(
            request_id, prompt_tokens, output_tokens, cached_tokens, priority, order, pending
        )
        self._waiting.push(sequence)
        self.queued_tokens += pending
        return sequence

    def cancel(self, sequence: Sequence, *, is_stepping: bool) -> None:
        """Removes a request; what a running step works on leaves when that step completes."""
        if sequence.is_waiting:
            self._waiting.discard(sequence)
            self.queued_tokens -= sequence.pending
        elif is_stepping:
            self._cancelled.append(sequence)
        else:
            self._evict(sequence)

    def can_admit(self) -> bool:
        """Whether the most urgent waiting request would join a step planned now."""
        return (
            len(self._waiting) > 0
            and self.num_running < self.max_num_seqs
            and self.num_decoding < self.max_batched_tokens
            and self._waiting.head.target_tokens <= self._free_tokens()
        )

    def schedule(self) -> int:
        """Fills `chunks` for the next step; returns the steps until the batch can change."""
        is_preempting = self._free_tokens() < 0
        if is_preempting:
            self._make_room()
        self.chunks = []
        if self._prefilling or self._waiting:
            self._fill(self.max_batched_tokens - self.num_decoding, not is_preempting)
        if self.chunks or is_preempting:
            return 1
        decodes = self._decodes
        while decodes[0][0] != decodes[0][2].finish_step:
            heappop(decodes)
        return min(decodes[0][0] - self.step, self._free_tokens() // self.num_decoding + 1)

    def complete(self, steps: int, at_s: float) -> list[Sequence]:
        """Ends `steps` steps at once; returns the sequences whose last token came with them."""
        self.step += steps
        self.context_tokens += steps * self.num_decoding
        for sequence in self._cancelled:
            self._evict(sequence)
            sequence.is_gone = True
        self._cancelled.clear()
        finished = []
        decodes, step = self._decodes, self.step
        while decodes and decodes[0][0] <= step:
            finish_step, _, sequence = heappop(decodes)
            if finish_step == sequence.finish_step:
                self.num_decoding -= 1
                self.context_tokens -= sequence.prompt_tokens + sequence.output_tokens - 1
                finished.append(sequence)
        for sequence, tokens in self.chunks:
            if not sequence.is_gone and self._prefilled(sequence, tokens, at_s):
                finished.append(sequence)
        return finished

    def copy(self) -> tuple["Scheduler", dict[int, Sequence]]:
        """Another one in the same state, and its sequences by `order`."""
        twins: dict[int, Sequence] = {}

        def twin(sequence: Sequence) -> Sequence:
            if sequence.order not in twins:
                twins[sequence.order] = replace(sequence)
            return twins[sequence.order]

        copied = Scheduler(
            max_num_seqs=self.max_num_seqs,
            max_batched_tokens=self.max_batched_tokens,
            kv_tokens=self.kv_tokens,
        )
        copied._waiting = self._waiting.copy(twin)
        copied._prefilling = [twin(sequence) for sequence in self._prefilling]
        copied._decodes = [(step, order, twin(s)) for step, order, s in self._decodes]
        copied._cancelled = [twin(sequence) for sequence in self._cancelled]
        copied._arrivals = self._arrivals
        copied.chunks = [(twin(sequence), tokens) for sequence, tokens in self.chunks]
        copied.step, copied.num_decoding = self.step, self.num_decoding
        copied.context_tokens = self.context_tokens
        copied.reserved_tokens, copied.queued_tokens = self.reserved_tokens, self.queued_tokens
        return copied, twins

    def _free_tokens(self) -> int:
        """KV left over once every decode has written its next token."""
        return self.kv_tokens - self.context_tokens - self.reserved_tokens - self.num_decoding

    def _fill(self, budget: int, may_admit: bool) -> None:
        for sequence in self._prefilling:
            budget -= self._chunk(sequence, budget)
        free, slots = self._free_tokens(), self.max_num_seqs - self.num_running
        while may_admit and self._waiting and budget > 0 and slots > 0:
            target = self._waiting.head.target_tokens
            if target > free:
                return
            sequence = self._waiting.pop()
            self.reserved_tokens += target
            self._prefilling.append(sequence)
            free -= target
            slots -= 1
            budget -= self._chunk(sequence, budget)

    def _chunk(self, sequence: Sequence, budget: int) -> int:
        tokens = min(sequence.pending, budget)
        if tokens > 0:
            self.chunks.append((sequence, tokens))
        return tokens

    def _prefilled(self, sequence: Sequence, tokens: int, at_s: float) -> bool:
        """Books a chunk; whether it brought the last output token."""
        self.queued_tokens -= tokens
        sequence.pending -= tokens
        if sequence.pending:
            return False
        self._prefilling.remove(sequence)
        target = sequence.target_tokens
        self.reserved_tokens -= target
        sequence.generated += 1
        if sequence.first_token_at_s is None:
            sequence.first_token_at_s = at_s
        remaining = sequence.output_tokens - sequence.generated
        if not remaining:
            return True
        self.num_decoding += 1
        self.context_tokens += target
        sequence.finish_step = self.step + remaining
        heappush(self._decodes, (sequence.finish_step, sequence.order, sequence))
        return False

    def _make_room(self) -> None:
        while self._free_tokens() < 0:
            self._preempt()

    def _preempt(self) -> None:
        """Sends the least urgent, youngest running sequence back to the queue without its KV."""
        decoding = (entry[2] for entry in self._decodes if entry[0] == entry[2].finish_step)
        victim = max((*self._prefilling, *decoding), key=lambda s: (s.priority, s.order))
        self._evict(victim)
        victim.pending = max(1, victim.target_tokens - victim.cached_tokens)
        self.queued_tokens += victim.pending
        self._waiting.push(victim)

    def _evict(self, sequence: Sequence) -> None:
        """Takes a running sequence out of the batch and its tokens out of the cache."""
        if sequence.finish_step is None:
            self._prefilling.remove(sequence)
            self.reserved_tokens -= sequence.target_tokens
            self.queued_tokens -= sequence.pending
            return
        sequence.generated = sequence.output_tokens - (sequence.finish_step - self.step)
        sequence.finish_step = None
        self.num_decoding -= 1
        self.context_tokens -= sequence.target_tokens - 1
