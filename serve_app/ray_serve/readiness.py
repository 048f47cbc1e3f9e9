"""Keeps what the router knows of its tiers current: which run, and what their engines say.

Knows no Ray: how replicas are counted is handed in.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from deployments.messages import TierFacts
from serve_app.errors import TandemError
from serve_app.prompts import PromptCounter
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.live.facts import EngineFacts
from serve_app.routing.live.state import TierState

log = logging.getLogger("ray.serve.tandem")

_POLL_STARTING_S = 0.5
_POLL_READY_S = 5.0
_DESCRIBE_TIMEOUT_S = 10.0
_MEASURE_TIMEOUT_S = 300.0


class Describable(Protocol):
    async def describe(self) -> TierFacts: ...

    async def measure(self) -> TierFacts: ...


class Readiness:
    """Watches the tiers and fills `states`, `counters` and `facts`.

    Args:
        count_replicas: running replicas by tier id, for tiers of which that is known: Serve says
            nothing while it builds another version, nor after that failed, and the tiers run on.
            None once the whole application is to go.
        may_sleep: tiers that are allowed to have no replica; they do not hold readiness back.
    """

    def __init__(
        self,
        tiers: Mapping[str, Describable],
        states: Mapping[str, TierState],
        count_replicas: Callable[[], Awaitable[Mapping[str, int] | None]],
        may_sleep: frozenset[str] = frozenset(),
    ) -> None:
        self._tiers = tiers
        self._states = states
        self._count_replicas = count_replicas
        self._may_sleep = may_sleep
        self.counters: dict[str, PromptCounter] = {}
        self.facts: dict[str, TierFacts] = {}
        self.is_going = False

    @property
    def is_ready(self) -> bool:
        """True when every tier that should run can serve and its speed is known."""
        statuses = self.tiers()
        needed = [status for tier, status in statuses.items() if tier not in self._may_sleep]
        return "ready" in statuses.values() and all(status == "ready" for status in needed)

    def tiers(self) -> dict[str, str]:
        """`starting`, `measuring` or `ready` by tier."""
        return {tier: self._status(tier) for tier in self._states}

    def _status(self, tier: str) -> str:
        # Of a tier that comes back from nothing, the engine is known again once it has answered.
        facts = self.facts.get(tier)
        if facts is None or not self._states[tier].is_ready:
            return "starting"
        return "measuring" if facts["profile"] is None else "ready"

    async def meet(self) -> None:
        """Asks the tiers that run already what they are; to be awaited before the first request.

        Else a router that replaces another one would know no tier for its first seconds.
        """
        with _logged():
            await self._meet()

    async def watch(self) -> None:
        """Polls until cancelled: often while something starts, seldom afterwards."""
        while True:
            with _logged():
                await self.refresh()
            await asyncio.sleep(_POLL_READY_S if self.is_ready else _POLL_STARTING_S)

    async def refresh(self) -> None:
        """Meets tiers that are new, and has them measured once all run."""
        await self._meet()
        statuses = self.tiers()
        if "starting" in (status for t, status in statuses.items() if t not in self._may_sleep):
            return
        # One after the other, and none while one starts: on one machine they would slow each other.
        for tier in [t for t, status in statuses.items() if status == "measuring"]:
            await self._ask(tier, self._tiers[tier].measure(), _MEASURE_TIMEOUT_S)

    async def _meet(self) -> None:
        counted = await self._count_replicas()
        self.is_going = counted is None
        for tier, state in self._states.items():
            state.num_replicas = 0 if counted is None else counted.get(tier, state.num_replicas)
            if not state.num_replicas:
                # The next replica may be another engine; it is asked again.
                self.facts.pop(tier, None)
        new = [t for t, state in self._states.items() if state.num_replicas and t not in self.facts]
        # All at once: one that does not answer keeps no other waiting.
        await asyncio.gather(
            *(self._ask(tier, self._tiers[tier].describe(), _DESCRIBE_TIMEOUT_S) for tier in new)
        )

    async def _ask(self, tier: str, answer: Awaitable[TierFacts], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                facts = await answer
        except (TimeoutError, TandemError):
            log.warning("Tier %r runs but does not answer yet.", tier)
            return
        same = [other for other, known in self.facts.items() if _same_tokenizer(known, facts)]
        self.counters[tier] = self.counters[same[0]] if same else _counter(facts)
        self.facts[tier] = facts
        profile = LatencyProfile(**facts["profile"], is_measured=True) if facts["profile"] else None
        self._states[tier].engine_started(
            EngineFacts(
                profile, facts["context_tokens"], facts["max_num_seqs"], facts["fingerprint"]
            )
        )


@contextmanager
def _logged() -> Iterator[None]:
    """The controller may be restarting; what was known stays in force meanwhile."""
    try:
        yield
    except Exception:
        log.exception("The tiers' state could not be read; trying again.")


def _same_tokenizer(one: TierFacts, other: TierFacts) -> bool:
    return (
        one["tokenizer_json"] == other["tokenizer_json"]
        and one["chat_template"] == other["chat_template"]
        and one["special_tokens"] == other["special_tokens"]
    )


def _counter(facts: TierFacts) -> PromptCounter:
    return PromptCounter(facts["tokenizer_json"], facts["chat_template"], facts["special_tokens"])
