"""Measures a replica's speed. A way to run one request in, a Profile out.

A few prompt lengths give prefill(n) = a + b n, a few batch sizes give step(B) = c + d B. It takes
seconds and is skipped when a stored profile of the same engine, model and machine exists.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from deployments.messages import Profile

_PROMPT_TOKENS = (32, 256, 768)
_BATCH_SIZES = (1, 4, 8)
_STEPS = 12
_MOST_TRIES = 5
_CLOSE = 1.1
_SHORT_PROMPT = 16

Probe = Callable[[int, int], Awaitable[None]]


async def measure(probe: Probe, *, context_tokens: int, max_num_seqs: int) -> Profile:
    """Times `probe(prompt_tokens, output_tokens)`, which must produce exactly that reply.

    Of several tries the fastest counts: noise only ever adds time.
    """
    await probe(_SHORT_PROMPT, 2)
    lengths = [n for n in _PROMPT_TOKENS if n < context_tokens // 2]
    prefill = [(n, await _fastest(partial(probe, n, 1))) for n in lengths]
    prefill_base_s, prefill_per_token_s = line(prefill)
    batches = [size for size in _BATCH_SIZES if size <= max_num_seqs]
    steps = [(size, await _step_s(probe, size)) for size in batches]
    step_base_s, step_per_sequence_s = line(steps)
    return {
        "prefill_base_s": prefill_base_s,
        "prefill_per_token_s": prefill_per_token_s,
        "step_base_s": step_base_s,
        "step_per_sequence_s": step_per_sequence_s,
    }


async def _step_s(probe: Probe, size: int) -> float:
    """Seconds of one decode step with `size` sequences: a long run minus a one-step run."""

    async def together(output_tokens: int) -> None:
        await asyncio.gather(*(probe(_SHORT_PROMPT, output_tokens) for _ in range(size)))

    long_s = await _fastest(lambda: together(_STEPS + 1))
    short_s = await _fastest(lambda: together(1))
    return max(1e-6, (long_s - short_s) / _STEPS)


async def _fastest(run: Callable[[], Awaitable[None]]) -> float:
    """The fastest of several runs, which is believed once another one came close to it."""
    times: list[float] = []
    while len(times) < _MOST_TRIES:
        began_s = time.perf_counter()
        await run()
        times.append(time.perf_counter() - began_s)
        times.sort()
        if len(times) > 1 and times[1] < times[0] * _CLOSE:
            break
    return times[0]


def line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Least squares (base, slope), neither below zero."""
    if len(points) == 1:
        return points[0][1], 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope = max(0.0, slope / sum((x - mean_x) ** 2 for x, _ in points))
    return max(0.0, mean_y - slope * mean_x), slope
