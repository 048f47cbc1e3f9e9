"""A server's decision log as traffic. Entries of docs/decision_log.md in, Arrivals out.

The log says what was asked and, where a reply ended by itself, how long it was; that is all a
policy needs to be asked again. A reply that was cut off (refused, timed out, cancelled) is taken
to be as long as was expected of it, or as long as it already was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.routing.types import RoutingRequest, Slo
from serve_app.simulator.requests import Arrival
from serve_app.simulator.trace import Request


@dataclass(frozen=True, slots=True)
class Log:
    """What was asked of a server, and what became of it there.

    num_guessed: replies whose length is a guess. recorded: shares of all, and per second, as
    `metrics.score.Score` has them.
    """

    arrivals: Sequence[Arrival]
    num_guessed: int
    recorded: Mapping[str, float]


def read_log(entries: Iterable[Mapping[str, Any]], tiers: Sequence[str]) -> Log:
    """The log's requests in order of arrival; those that ended before a decision are left out.

    Args:
        tiers: that will be asked; a prompt that none of the log's tiers of that name counted has
            the largest count of the others.

    Raises:
        ValueError: no entry holds a decision, or one lacks a field.
    """
    decided = sorted(
        (entry for entry in entries if entry.get("candidates")), key=lambda e: e["arrived_at_s"]
    )
    if len(decided) < 2:
        raise ValueError("the decision log holds fewer than two requests that were decided on")
    first_s = decided[0]["arrived_at_s"]
    try:
        arrivals = [_arrival(entry, tiers, first_s) for entry in decided]
    except KeyError as err:
        raise ValueError(f"an entry of the decision log has no field {err}") from err
    guessed = sum(entry["output_tokens"] is None or entry["is_censored"] for entry in decided)
    return Log(arrivals, guessed, _recorded(decided))


def _arrival(entry: Mapping[str, Any], tiers: Sequence[str], first_s: float) -> Arrival:
    counted = {one["tier"]: one["prompt_tokens"] for one in entry["candidates"]}
    most = max(counted.values())
    prompts = {tier: counted.get(tier, most) for tier in tiers}
    slo = Slo(
        entry["slo_e2e_ms"], entry["slo_ttft_ms"], entry["slo_tpot_ms"], entry["slo_attainment"],
        tuple(entry["on_infeasible"]), source=entry["slo_source"],
    )  # fmt: skip
    return Arrival(
        Request(entry["arrived_at_s"] - first_s, most, _output_tokens(entry)),
        RoutingRequest(
            prompt_tokens=prompts,
            slo=slo,
            max_tokens=entry["max_tokens"],
            min_tokens=entry["min_tokens"],
            expected_output_tokens=entry["expected_output_tokens"],
            sequences=entry["sequences"],
            is_length_fixed=entry["is_length_fixed"],
            pinned_tier=entry["pinned_tier"] if entry["pinned_tier"] in tiers else None,
            task=entry["task"],
            route=entry["route_key"] or "default",
            share_key=entry["slo_class"] or "",
        ),
    )


def _output_tokens(entry: Mapping[str, Any]) -> int:
    """Of one sequence."""
    written = int(entry["output_tokens"] or 0) // max(1, int(entry["sequences"]))
    if written and not entry["is_censored"]:
        return written
    chosen = [one for one in entry["candidates"] if one["tier"] == entry["tier"]]
    expected = float((chosen or entry["candidates"])[0]["expected_output_tokens"])
    return max(1, written, round(expected))


def _recorded(decided: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    # Without an SLO, being answered is being in time.
    good = [
        entry for entry in decided
        if entry["status"] == 200 and entry["is_slo_met"] is not False
    ]  # fmt: skip
    span_s = max(1e-9, decided[-1]["arrived_at_s"] - decided[0]["arrived_at_s"])
    quality = {
        (entry["decision_id"], one["tier"]): one["quality"]
        for entry in good
        for one in entry["candidates"]
    }
    worth = sum(quality.get((entry["decision_id"], entry["tier"]), 0.0) for entry in good)
    return {
        "attainment": len(good) / len(decided),
        "goodput_rps": len(good) / span_s,
        "quality_goodput": worth / span_s,
        "accept_rate": sum(entry["status"] == 200 for entry in decided) / len(decided),
    }
