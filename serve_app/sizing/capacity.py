"""How much one replica serves in time, and what stops it. An engine and a demand in, numbers out.

By the router's kind of lines, prefill(n) and step(B): a reply of L tokens beside B - 1 others takes
(prefill(n) + (L - 1) step(B)) stretched by the prefills of those who arrive meanwhile. The lines go
through the engine's own times at the demand's lengths: a start-up measurement has short contexts,
whose keys and values cost next to nothing to read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from deployments.engine.speed.measure import line
from serve_app.routing.latency import LatencyProfile
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.simulator.trace import Request
from serve_app.sizing.demand import Demand

# The step's line goes through a lone sequence and this many, prefill's through half the mean prompt
# and one and a half.
_MANY_SEQUENCES = 16
_PROMPT_SHARES = (0.5, 1.5)

# What ends the growth of the batch. impossible: not even an idle replica is in time; context: too
# many prompts are longer than its window.
Limit = Literal["impossible", "context", "memory", "slots", "prefill", "decode"]


@dataclass(frozen=True, slots=True)
class Option:
    """One tier on one kind of accelerator; `count` of them make a replica, `tier` simulates it."""

    accelerator: str
    count: int
    tier: SimulatedTier

    @property
    def name(self) -> str:
        return f"{self.tier.tier} on {self.count} x {self.accelerator}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A tier on an accelerator that cannot even be looked at, and why: its weights do not fit."""

    tier: str
    accelerator: str
    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of one replica: the largest batch in which the asked share of replies is in time.

    rps: requests per second, 0 when it is `impossible`. limit: why not one more. idle_e2e_s: within
    which an idle replica has finished the asked share of replies, infinite with `context`.
    blocked_share: of the time, taken from decoding by prefills.
    """

    option: Option
    batch: int
    rps: float
    limit: Limit
    idle_e2e_s: float
    blocked_share: float = 0.0

    @property
    def usd_per_million(self) -> float:
        """Per million requests when it is busy all the time; infinite when it serves none."""
        if not self.rps:
            return math.inf
        return self.option.tier.usd_per_hour / (self.rps * 3600.0) * 1e6


def capacity_of(option: Option, demand: Demand) -> Capacity:
    """The largest batch that is still in time, within memory and slots.

    Replies are cut where the window ends; who does not fit at all is late.
    """
    tier, fitting = option.tier, _fitting(option.tier.context_tokens, demand)
    if fitting is None:
        return Capacity(option, 0, 0.0, "context", math.inf)
    demand, attainment, speed = fitting, fitting.slo.attainment, speed_of(option, fitting)
    idle_e2e_s = _quantile(_reply_times(speed, demand.lengths, 1, 0.0), attainment)
    if idle_e2e_s > demand.limit_s:
        return Capacity(option, 0, 0.0, "impossible", idle_e2e_s)
    memory = int(tier.kv_tokens // (demand.prompt_tokens + demand.output_tokens / 2))
    most = max(1, min(tier.max_num_seqs, memory))
    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_in_time(speed, demand, middle) else (low, middle)
    rps, blocked_share = _met(speed, demand, low)
    limit: Limit = "memory" if memory <= tier.max_num_seqs else "slots"
    if low < most:
        unblocked = _reply_times(speed, demand.lengths, low + 1, 0.0)
        is_prefill = _quantile(unblocked, attainment) <= demand.limit_s
        limit = "prefill" if is_prefill else "decode"
    return Capacity(option, low, rps, limit, idle_e2e_s, blocked_share)


def _fitting(context_tokens: int, demand: Demand) -> Demand | None:
    """What of the demand fits a window, with the larger share of it that must be in time then."""
    fitting = [
        replace(r, output_tokens=min(r.output_tokens, context_tokens - r.prompt_tokens))
        for r in demand.lengths
        if r.prompt_tokens < context_tokens
    ]
    if len(fitting) < demand.slo.attainment * len(demand.lengths):
        return None
    attainment = demand.slo.attainment * len(demand.lengths) / len(fitting)
    return replace(demand, lengths=fitting, slo=replace(demand.slo, attainment=attainment))


def longest_reply(option: Option, demand: Demand) -> int | None:
    """Tokens that an idle replica writes in time after a prompt of mean length; None for none."""
    speed = speed_of(option, demand)
    left_s = demand.limit_s - speed.prefill_s(demand.prompt_tokens)
    return 1 + int(left_s / speed.step_s(1)) if left_s >= 0 else None


def speed_of(option: Option, demand: Demand) -> LatencyProfile:
    """Two lines through the simulated engine's times, at the demand's mean context."""
    timing = option.tier.timing
    context_s = (demand.prompt_tokens + demand.output_tokens / 2) * timing.context_token_s
    steps = [(n, timing.fixed_s(n) + n * context_s) for n in (1, _MANY_SEQUENCES)]
    prompts = [max(1, round(demand.prompt_tokens * share)) for share in _PROMPT_SHARES]
    prefills = [(n, timing.fixed_s(0, 1, n) + timing.pair_s * n * n / 2) for n in prompts]
    return LatencyProfile(*line(prefills), *line(steps))


def _is_in_time(profile: LatencyProfile, demand: Demand, batch: int) -> bool:
    _, blocked_share = _met(profile, demand, batch)
    times_s = _reply_times(profile, demand.lengths, batch, blocked_share)
    return _quantile(times_s, demand.slo.attainment) <= demand.limit_s


def _met(profile: LatencyProfile, demand: Demand, batch: int) -> tuple[float, float]:
    """Requests per second that keep a batch of so many, and the share that prefills take.

    Little's law, batch = rps x e2e, with e2e = prefill + decode / (1 - blocked) and blocked =
    rps x prefill: a quadratic in e2e, whose larger root leaves decoding a positive share.
    """
    prefill_s = fmean(profile.prefill_s(request.prompt_tokens) for request in demand.lengths)
    decode_s = (demand.output_tokens - 1) * profile.step_s(batch)
    others_s = (batch - 1) * prefill_s
    total_s = prefill_s + others_s + decode_s
    e2e_s = (total_s + math.sqrt(total_s**2 - 4 * prefill_s * others_s)) / 2
    return batch / e2e_s, others_s / e2e_s


def _reply_times(
    profile: LatencyProfile, lengths: Sequence[Request], batch: int, blocked_share: float
) -> list[float]:
    """Seconds until each of the sample is answered, sorted."""
    step_s, stretch = profile.step_s(batch), 1.0 / (1.0 - blocked_share)
    # It joins between two steps: half a step of waiting, none when nobody else is there.
    wait_s = step_s / 2 if batch > 1 else 0.0
    return sorted(
        wait_s + (profile.prefill_s(r.prompt_tokens) + (r.output_tokens - 1) * step_s) * stretch
        for r in lengths
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    # Less a rounding error, which must not ask for one reply more.
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]
