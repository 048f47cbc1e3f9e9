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
class Pace:
    """How much slower than usual the machine is, by steps of `step_s` from the first arrival on.

    The last factor lasts.
    """

    step_s: float
    factors: tuple[float, ...]

    def factor(self, at_s: float) -> float:
        return self.factors[self._index(at_s)]

    def next_change_s(self, at_s: float) -> float:
        """When another factor begins; infinity when none does."""
        following = self._index(at_s) + 1
        return following * self.step_s if following < len(self.factors) else inf

    def _index(self, at_s: float) -> int:
        return min(int(at_s / self.step_s), len(self.factors) - 1)


STEADY = Pace(inf, (1.0,))


@dataclass(frozen=True, slots=True)
class Machine:
    """timings: by tier. hop_s: by tier, what a reply costs beside its engine. slowdown: of every
    engine's steps while another one works too.
    """

    timings: Mapping[str, EngineTiming]
    hop_s: Mapping[str, float]
    slowdown: float

    def e2e_s(self, replies: Sequence[Reply], pace: Pace = STEADY) -> list[float]:
        """Whole-reply times of the same requests, arriving at the same times."""
        engines = _Engines(self.timings, self.slowdown, pace)
        began_s = replies[0].arrived_at_s
        for index, reply in enumerate(replies):
            engines.submit(index, reply, reply.arrived_at_s - began_s)
        finished_s = engines.finished_s()
        return [
            finished_s[index] - (reply.arrived_at_s - began_s) + self.hop_s[reply.tier]
            for index, reply in enumerate(replies)
        ]


class _Engines:
    """Runs them all from one moment at which any changes its speed to the next."""

    def __init__(self, timings: Mapping[str, EngineTiming], slowdown: float, pace: Pace) -> None:
        self._engines = {tier: _engine(timing) for tier, timing in timings.items()}
        self._slowdown = slowdown
        self._pace = pace
        self._now_s = 0.0
        self._finished_s: dict[int | str, float] = {}

    def submit(self, index: int, reply: Reply, now_s: float) -> None:
        """Times must not run backwards."""
        self._run(now_s)
        self._advance(now_s)
        self._engines[reply.tier].submit(
            index, prompt_tokens=reply.prompt_tokens, output_tokens=reply.output_tokens, now=now_s
        )
        self._share()

    def finished_s(self) -> Mapping[int | str, float]:
        """When each request was finished, once all are."""
        self._run(inf)
        return self._finished_s

    def _run(self, until_s: float) -> None:
        while (end_s := min(map(_next_s, self._engines.values()))) < inf:
            due_s = min(end_s, self._pace.next_change_s(self._now_s))
            if due_s > until_s:
                return
            self._advance(due_s)

    def _advance(self, now_s: float) -> None:
        """All of them: a speed that changes now must not count for what was before."""
        for engine in self._engines.values():
            self._finished_s |= {end.request_id: end.finished_at_s for end in engine.advance(now_s)}
        self._now_s = now_s
        self._share()

    def _share(self) -> None:
        pace = self._pace.factor(self._now_s)
        num_busy = sum(_next_s(engine) < inf for engine in self._engines.values())
        for engine in self._engines.values():
            num_others = num_busy - (_next_s(engine) < inf)
            slowdown = pace * (self._slowdown if num_others else 1.0)
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
