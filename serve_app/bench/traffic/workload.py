"""What is asked of a server under load: when, how long, and how soon. Data only.

>>> requests = constant(lengths, rate_per_s=2.0, duration_s=60.0, seed=1)
>>> body(requests[0], model="auto", salt="round 1", slo=ROUTED)
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.bench.overhead.engine import WORDS
from serve_app.simulator.trace import Request, at_rate

# How often a caller asks for which whole-reply time, in seconds: the founding case's five most.
SLO_MIX: Mapping[float, float] = {5.0: 0.6, 10.0: 0.25, 20.0: 0.15}
# What a request says of its SLO to a server that reads it.
ROUTED: Mapping[str, Any] = {"on_infeasible": "degrade"}
_TOKENS_PER_WORD = 1.1
# What the chat template adds to a prompt.
_TEMPLATE_TOKENS = 25
_SHORTEST_PROMPT, _SHORTEST_REPLY = 32, 4


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. index: its place in the run. at_s: when it is due, from the start.

    prompt_tokens: approximate. max_tokens: the most that it wants back. slo_s: for the whole reply.
    """

    index: int
    at_s: float
    prompt_tokens: int
    max_tokens: int
    slo_s: float


def scaled(trace: Sequence[Request], scale: float) -> list[Request]:
    """The trace with prompts and replies `scale` times as long: for models smaller than its own."""
    return [
        Request(
            request.arrived_at_s,
            max(_SHORTEST_PROMPT, round(request.prompt_tokens * scale)),
            max(_SHORTEST_REPLY, round(request.output_tokens * scale)),
        )
        for request in trace
    ]


def replayed(
    trace: Sequence[Request], *, rate_per_s: float, duration_s: float, seed: int
) -> list[Asked]:
    """The trace's own arrivals, bursts and all, from its start, brought to a mean rate.

    Raises:
        ValueError: they all arrive at one instant, which has no rate.
    """
    if not math.isfinite(rate_per_s):
        raise ValueError("The trace's requests arrive at one instant, which has no rate.")
    taken = at_rate(trace[: max(2, round(rate_per_s * duration_s))], rate_per_s)
    return _asked(taken, [r.arrived_at_s - taken[0].arrived_at_s for r in taken], seed)


def constant(
    lengths: Sequence[Request], *, rate_per_s: float, duration_s: float, seed: int
) -> list[Asked]:
    """One request every 1 / rate seconds, Vegeta's way; lengths in the order of the trace."""
    count = max(1, round(rate_per_s * duration_s))
    taken = [lengths[index % len(lengths)] for index in range(count)]
    return _asked(taken, [index / rate_per_s for index in range(count)], seed)


def lognormal_lengths(
    prompt: tuple[float, float], reply: tuple[float, float], *, count: int, seed: int
) -> list[Request]:
    """Lengths without a trace; `prompt` and `reply` are median in tokens and spread of the log."""
    draw = random.Random(seed)

    def tokens(median: float, spread: float, least: int) -> int:
        # Cut at eight times the median, so that no seed makes a run of another kind.
        return round(min(8 * median, max(least, median * draw.lognormvariate(0.0, spread))))

    return [
        Request(0.0, tokens(*prompt, _SHORTEST_PROMPT), tokens(*reply, _SHORTEST_REPLY))
        for _ in range(count)
    ]


def body(asked: Asked, *, model: str, salt: str, slo: Mapping[str, Any] | None) -> dict[str, Any]:
    """The chat body of a request.

    Args:
        salt: another salt, other words of the same length: no cached prefix helps a later run.
        slo: what else goes into the body's `slo`; None for a server that knows none.
    """
    draw = random.Random(f"{salt}/{asked.index}")
    count = max(1, round((asked.prompt_tokens - _TEMPLATE_TOKENS) / _TOKENS_PER_WORD))
    content = {
        "model": model,
        "messages": [{"role": "user", "content": " ".join(draw.choices(WORDS, k=count))}],
        "max_tokens": asked.max_tokens,
        "temperature": 0.0,
    }
    if slo is None:
        return content
    return content | {"slo": {"e2e_ms": asked.slo_s * 1e3, **slo}}


def _asked(lengths: Sequence[Request], times_s: Sequence[float], seed: int) -> list[Asked]:
    draw = random.Random(seed)
    slos_s = draw.choices(list(SLO_MIX), list(SLO_MIX.values()), k=len(lengths))
    return [
        Asked(index, at_s, request.prompt_tokens, request.output_tokens, slo_s)
        for index, (request, at_s, slo_s) in enumerate(zip(lengths, times_s, slos_s, strict=True))
    ]
