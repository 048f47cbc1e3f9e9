"""How long a prompt is to each tier. An Ask in, prompt tokens by tier out."""

import asyncio
from collections.abc import Iterable, Mapping

from serve_app.asks import Ask
from serve_app.errors import Unavailable
from serve_app.prompts import PromptCounter

_TEXT_TO_COUNT_IN_A_THREAD = 40_000


class PromptLengths:
    """Counts with each tier's tokenizer; tiers that share one count once.

    Args:
        tiers: ids of all. counters: by tier id; filled once a tier has told its tokenizer.
    """

    def __init__(self, tiers: Iterable[str], counters: Mapping[str, PromptCounter]) -> None:
        self._tiers = tuple(tiers)
        self._counters = counters

    async def of(self, ask: Ask) -> dict[str, int]:
        """
        Raises:
            Unavailable: no tier has told its tokenizer yet.
        """
        if not self._counters:
            raise Unavailable("No tier is running yet. Retry when /readyz answers 200.")
        if _text_size(ask) > _TEXT_TO_COUNT_IN_A_THREAD:
            return await asyncio.to_thread(self._count, ask)
        return self._count(ask)

    def _count(self, ask: Ask) -> dict[str, int]:
        counts = {counter: counter.count(ask.body) for counter in set(self._counters.values())}
        # A tier that has not started yet is never chosen; any count will do for its prediction.
        fallback = next(iter(counts.values()))
        return {
            tier: counts[self._counters[tier]] if tier in self._counters else fallback
            for tier in self._tiers
        }


def _text_size(ask: Ask) -> int:
    """Roughly, in characters or token ids: of all prompts, or of all that a template renders."""
    prompt = ask.body.get("prompt")
    if isinstance(prompt, str):
        return len(prompt)
    if isinstance(prompt, list):
        return sum(len(one) if isinstance(one, str | list) else 1 for one in prompt)
    return len(str(ask.body["messages"])) + len(str(ask.body.get("tools", "")))
