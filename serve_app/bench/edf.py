"""Urgent requests behind a backlog of relaxed ones: earliest deadline first against first come.

The router hands each request's deadline to the engine as its priority. With `scheduling_policy:
priority` vLLM serves the earliest one first, with `fcfs` it does not look. The same requests are
sent to both. Replies in, figures out.
"""

import asyncio
import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from deployments.spec import TierSpec
from serve_app.bench.client import Address
from serve_app.bench.load import LoadFailed
from serve_app.bench.overhead.engine import one_tier, prompt
from serve_app.bench.targets import Target, Verdict

SchedulingPolicy = Literal["priority", "fcfs"]
POLICIES: tuple[SchedulingPolicy, ...] = ("priority", "fcfs")
NUM_ROUNDS = 5
_SLOTS = 2
# More than are ever sent: what waits in front of the engine is out of its scheduler's reach.
_MAX_ONGOING = 100
_NUM_RELAXED, _RELAXED_TOKENS, _RELAXED_SLO_S = 10, 48, 60.0
_NUM_URGENT, _URGENT_TOKENS, _URGENT_SLO_S = 2, 16, 8.0
# Until the whole backlog is in the engine's queue.
_HEAD_START_S = 0.5

_OVERTAKES = Target("urgent median E2E, EDF against FCFS", "x", high=0.5)
_IN_TIME = Target(f"urgent within {_URGENT_SLO_S:g} s with EDF", low=0.95)
_IN_TIME_FCFS = Target(f"urgent within {_URGENT_SLO_S:g} s with FCFS")
_AHEAD, _AHEAD_FCFS = (
    Target(f"urgent against relaxed median, {name}", "x") for name in ("EDF", "FCFS")
)
_LOSS = Target("relaxed median E2E, EDF against FCFS", "x")
_RELAXED_IN_TIME = Target(f"relaxed within {_RELAXED_SLO_S:g} s with EDF")

# Told of each step as it begins.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """One reply; predicted_s: by the router when it was sent."""

    is_urgent: bool
    e2e_s: float
    predicted_s: float

    @property
    def is_in_time(self) -> bool:
        return self.e2e_s <= (_URGENT_SLO_S if self.is_urgent else _RELAXED_SLO_S)


def scheduled(
    content: Mapping[str, Any], tier: TierSpec, address: Address, policy: SchedulingPolicy
) -> dict[str, Any]:
    """The Serve file with only this tier, two slots and this policy, listening at `address`."""
    derived = copy.deepcopy(one_tier(content, tier, address))
    for application in derived["applications"]:
        args = application["args"]
        # Neither start may profit from the other, nor the user's own from these.
        args["routing"] = {**args.get("routing", {}), "keeps_state": False}
        args["telemetry"] = {**args.get("telemetry", {}), "decision_log": False}
        for config in args["llm_configs"]:
            engine = {"max_num_seqs": _SLOTS, "scheduling_policy": policy}
            config["engine_kwargs"] = {**config.get("engine_kwargs", {}), **engine}
            options = {"max_ongoing_requests": _MAX_ONGOING}
            config["deployment_config"] = {**config.get("deployment_config", {}), **options}
    return derived


async def rounds(client: httpx.AsyncClient, tier: str, say: Say) -> list[Answered]:
    """Sends the backlog, then the urgent ones, again and again; each round begins idle.

    Raises:
        LoadFailed: a request was not answered with 200.
    """
    say("warming up")
    await asyncio.gather(*(_answered(client, tier, True, seed) for seed in range(_SLOTS)))
    answered: list[Answered] = []
    for number in range(1, NUM_ROUNDS + 1):
        say(f"round {number} of {NUM_ROUNDS}")
        answered += await _round(client, tier, 1000 * number)
    return answered


async def _round(client: httpx.AsyncClient, tier: str, seed: int) -> list[Answered]:
    async def urgent(index: int) -> Answered:
        await asyncio.sleep(_HEAD_START_S)
        return await _answered(client, tier, True, seed + index)

    relaxed = [_answered(client, tier, False, seed + 100 + i) for i in range(_NUM_RELAXED)]
    return await asyncio.gather(*relaxed, *(urgent(i) for i in range(_NUM_URGENT)))


async def _answered(client: httpx.AsyncClient, tier: str, is_urgent: bool, seed: int) -> Answered:
    tokens = _URGENT_TOKENS if is_urgent else _RELAXED_TOKENS
    slo_s = _URGENT_SLO_S if is_urgent else _RELAXED_SLO_S
    body = {
        "model": tier,
        "messages": [{"role": "user", "content": prompt(seed)}],
        "temperature": 0.0, "ignore_eos": True, "min_tokens": tokens, "max_tokens": tokens,
        # Refused otherwise: the router's forecast does not know that it will overtake.
        "slo": {"e2e_ms": slo_s * 1e3, "on_infeasible": "degrade"},
    }  # fmt: skip
    began_s = time.perf_counter()
    try:
        reply = await client.post("/v1/chat/completions", json=body)
    except httpx.HTTPError as err:
        raise LoadFailed(f"Tandem did not answer: {type(err).__name__} {err}") from err
    e2e_s = time.perf_counter() - began_s
    if reply.status_code != 200:
        raise LoadFailed(f"answered {reply.status_code}: {reply.text[:300]}")
    return Answered(is_urgent, e2e_s, float(reply.headers["x-router-predicted-e2e-ms"]) / 1e3)


def figures(answered: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """Of urgent and of relaxed replies: medians in seconds, and the share in time."""
    return {
        kind: {
            "replies": len(replies),
            "median_e2e_s": round(statistics.median(r.e2e_s for r in replies), 3),
            "median_predicted_s": round(statistics.median(r.predicted_s for r in replies), 3),
            "in_time": round(sum(r.is_in_time for r in replies) / len(replies), 4),
        }
        for kind, is_urgent in (("urgent", True), ("relaxed", False))
        if (replies := [r for r in answered if r.is_urgent is is_urgent])
    }


def verdicts(by_policy: Mapping[str, dict[str, dict[str, float]]]) -> list[Verdict]:
    """What overtaking brings the urgent and costs the relaxed; `by_policy`: their figures."""
    edf, fcfs = by_policy["priority"], by_policy["fcfs"]

    def ratio(kind: str) -> float:
        return edf[kind]["median_e2e_s"] / fcfs[kind]["median_e2e_s"]

    def ahead(kinds: dict[str, dict[str, float]]) -> float:
        # Of one start, so that a machine that was busier at the other changes nothing.
        return kinds["urgent"]["median_e2e_s"] / kinds["relaxed"]["median_e2e_s"]

    return [
        _OVERTAKES.judged(ratio("urgent")),
        _IN_TIME.judged(edf["urgent"]["in_time"]),
        _IN_TIME_FCFS.judged(fcfs["urgent"]["in_time"]),
        _LOSS.judged(ratio("relaxed")),
        _AHEAD.judged(ahead(edf)),
        _AHEAD_FCFS.judged(ahead(fcfs)),
        _RELAXED_IN_TIME.judged(edf["relaxed"]["in_time"]),
    ]
