"""The least of a replica's time that a request takes when it is in time. Tiers in, Jobs out.

A step of B decodes takes f(B) seconds, of which each sequence's share is f(B) / B: less, the
fuller the batch. But a reply of L tokens in time S has S / L seconds per step at most, which bounds
the batch. f is convex, so for a given total time the shares are least when all steps are equal
(Jensen): L steps of the largest batch with L f(B) <= S - prefill. No schedule of the simulated
engine, however well it knows the future, serves the request in time with less, noise aside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.routing.types import RoutingRequest
from serve_app.simulator.engine import EngineTiming
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.simulator.requests import Arrival

# A prompt longer than that is split; smaller pieces hide more of their work behind weight reads.
_CHUNK_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Option:
    """What a tier gives a request: work_s of one replica's time, for so much quality."""

    tier: str
    work_s: float
    quality: float


@dataclass(frozen=True, slots=True)
class Job:
    """One request, and the tiers that could serve it in time; none when nobody could."""

    arrived_at_s: float
    due_at_s: float
    options: tuple[Option, ...]


def jobs(arrivals: Sequence[Arrival], tiers: Sequence[SimulatedTier]) -> list[Job]:
    """Every request with its options, in the same order. Requests need an e2e SLO."""
    return [_job(arrival, tiers) for arrival in arrivals]


def _job(arrival: Arrival, tiers: Sequence[SimulatedTier]) -> Job:
    asked, request = arrival.asked, arrival.request
    if asked.slo.e2e_ms is None:
        raise ValueError("The clairvoyant bound needs a whole-reply SLO (e2e_ms).")
    limit_s = asked.slo.e2e_ms / 1000
    options = []
    for tier in tiers:
        work_s = least_work_s(tier, asked, request.output_tokens, limit_s)
        if work_s is not None:
            options.append(Option(tier.tier, work_s, tier.quality_for(asked.task)))
    return Job(request.arrived_at_s, request.arrived_at_s + limit_s, tuple(options))


def least_work_s(
    tier: SimulatedTier, asked: RoutingRequest, output_tokens: int, limit_s: float
) -> float | None:
    """Seconds of one replica; None when an idle one would be too late."""
    prompt_tokens, timing = asked.prompt_tokens[tier.tier], tier.timing
    if prompt_tokens + output_tokens > tier.context_tokens:
        return None
    prefill_s = _prefill_s(timing, prompt_tokens)
    steps = output_tokens - 1
    # The step with the prefill in it reads the weights as well, alone or for others.
    left_s = limit_s - prefill_s - timing.fixed_s(0) / tier.max_num_seqs
    context_s = timing.context_token_s * (prompt_tokens + output_tokens / 2)
    if steps * (timing.fixed_s(1) + context_s) > left_s:
        return None
    return prefill_s + steps * (_least_share_s(tier, steps, left_s, context_s) + context_s)


def _prefill_s(timing: EngineTiming, prompt_tokens: int) -> float:
    """What a prompt adds to steps that would have been made anyway."""
    chunks = -(-prompt_tokens // _CHUNK_TOKENS)
    chunk = prompt_tokens / chunks
    added_s = timing.fixed_s(0, 1, int(chunk)) - timing.fixed_s(0) - timing.prefill_s
    return chunks * added_s + timing.pair_s * prompt_tokens**2 / 2


def _least_share_s(tier: SimulatedTier, steps: int, left_s: float, context_s: float) -> float:
    """One sequence's part of a step, at the largest batch that is fast enough."""
    timing, low, high = tier.timing, 1, tier.max_num_seqs
    while low < high:
        middle = (low + high + 1) // 2
        if steps * (timing.fixed_s(middle) + context_s) <= left_s:
            low = middle
        else:
            high = middle - 1
    return timing.fixed_s(low) / low
