"""Engines that share one machine's cores, simulated. Timings and replies in, seconds out."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from serve_app.simulator.engine import EngineTiming, Replica

_KV_TOKENS = 100_000
# As in models.local.yaml.
_SLOTS, _BATCHED_TOKENS = 16, 2048


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a tier; seconds of the router's clock, lengths in tokens."""

    tier: str
    arrived_at_s: float
    prompt_tokens: int
    output_tokens: int
    e2e_s: float


@dataclass(frozen=True, slots=True)
class Machine:
    """timings: by tier. hop_s: by tier, what a reply costs beside its engine. slowdown: of every
    engine's steps while another one works too.
    """

    timings: Mapping[str, EngineTiming]
    hop_s: Mapping[str, float]
    slowdown: float

    def e2e_s(self, replies: Sequence[Reply]) -> list[float]:
        """Whole-reply times of the same requests, arriving at the same times."""
        engines = {tier: _engine(timing) for tier, timing in self.timings.items()}
        began_s = replies[0].arrived_at_s
        finished_s: dict[int | str, float] = {}
        for index, reply in enumerate(replies):
            now = reply.arrived_at_s - began_s
            finished_s |= self._run(engines, now)
            engines[reply.tier].submit(
                index, prompt_tokens=reply.prompt_tokens, output_tokens=reply.output_tokens, now=now
            )
            self._share(engines)
        finished_s |= self._run(engines, inf)
        return [
            finished_s[index] - (reply.arrived_at_s - began_s) + self.hop_s[reply.tier]
            for index, reply in enumerate(replies)
        ]

    def _run(self, engines: Mapping[str, Replica], until_s: float) -> dict[int | str, float]:
        """Until then, from one end of a reply to the next; who finished when."""
        finished_s: dict[int | str, float] = {}
        while (due_s := min(map(_next_s, engines.values()))) < inf and due_s <= until_s:
            for engine in engines.values():
                finished_s |= {end.request_id: end.finished_at_s for end in engine.advance(due_s)}
            self._share(engines)
        return finished_s

    def _share(self, engines: Mapping[str, Replica]) -> None:
        num_busy = sum(_next_s(engine) < inf for engine in engines.values())
        for engine in engines.values():
            num_others = num_busy - (_next_s(engine) < inf)
            slowdown = self.slowdown if num_others else 1.0
            # Setting it plans the steps anew.
            if engine.slowdown != slowdown:
                engine.slowdown = slowdown


def _engine(timing: EngineTiming) -> Replica:
    return Replica(
        timing, max_num_seqs=_SLOTS, max_batched_tokens=_BATCHED_TOKENS, kv_tokens=_KV_TOKENS,
        noise=random.Random(0),
    )  # fmt: skip


def _next_s(engine: Replica) -> float:
    next_s = engine.next_finish_s
    return inf if next_s is None else next_s
