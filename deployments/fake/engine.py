"""A timed engine with continuous batching: lengths in, tokens out, at the configured speed."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from deployments.spec import FakeTiming


@dataclass(eq=False, slots=True)
class _Sequence:
    prompt_tokens: int
    output_tokens: int
    tokens: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    num_emitted: int = 0

    def emit(self) -> bool:
        """Emits one token; True when it was the last."""
        self.tokens.put_nowait(self.num_emitted)
        self.num_emitted += 1
        return self.num_emitted == self.output_tokens


class FakeEngine:
    """One loop, as an engine has: prefill one waiting prompt, then one step for the batch."""

    def __init__(self, timing: FakeTiming, noise: random.Random) -> None:
        self._timing = timing
        self._noise = noise
        self._waiting: deque[_Sequence] = deque()
        self._running: list[_Sequence] = []
        self._loop: asyncio.Task[None] | None = None

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def queued_tokens(self) -> int:
        return sum(sequence.prompt_tokens for sequence in self._waiting)

    async def generate(self, prompt_tokens: int, output_tokens: int) -> AsyncGenerator[int, None]:
        """Yields token numbers from 0; closing it early frees the slot at the next step."""
        if self._is_instant:
            for index in range(output_tokens):
                yield index
            return
        sequence = _Sequence(prompt_tokens, output_tokens)
        self._waiting.append(sequence)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run())
        try:
            for _ in range(output_tokens):
                yield await sequence.tokens.get()
        finally:
            self._drop(sequence)

    @property
    def _is_instant(self) -> bool:
        timing = self._timing
        return not (
            timing.prefill_base_s + timing.prefill_per_token_s
            + timing.step_base_s + timing.step_per_sequence_s
        )  # fmt: skip

    async def _run(self) -> None:
        timing = self._timing
        while self._waiting or self._running:
            if self._waiting and len(self._running) < timing.max_num_seqs:
                sequence = self._waiting.popleft()
                self._running.append(sequence)
                prompt_tokens = sequence.prompt_tokens
                await self._pass(timing.prefill_base_s + timing.prefill_per_token_s * prompt_tokens)
                self._emit([sequence])
                continue
            batch = self._running.copy()
            await self._pass(timing.step_base_s + timing.step_per_sequence_s * len(batch))
            self._emit(batch)

    def _emit(self, batch: list[_Sequence]) -> None:
        for sequence in batch:
            if sequence in self._running and sequence.emit():
                self._running.remove(sequence)

    async def _pass(self, seconds: float) -> None:
        spread = self._timing.noise
        await asyncio.sleep(seconds * (1.0 + spread * self._noise.uniform(-1.0, 1.0)))

    def _drop(self, sequence: _Sequence) -> None:
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        if sequence in self._running:
            self._running.remove(sequence)
