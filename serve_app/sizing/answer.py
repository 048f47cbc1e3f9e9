"""What to buy: the whole question in, plans and trials out, as objects and as plain data."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from serve_app.sizing.capacity import Capacity, Refused, longest_reply
from serve_app.sizing.cost import Cost, HostedCost, cost_of
from serve_app.sizing.demand import Demand
from serve_app.sizing.fleets import FleetPlan
from serve_app.sizing.trial import Trial


@dataclass(frozen=True, slots=True)
class Answer:
    """plans: that would do by the formula, cheapest first; empty when nothing would.

    trials: simulations of the cheapest and of larger ones; the last decides. refused: machines
    that do not hold a tier's weights.
    """

    demand: Demand
    slo_class: str
    min_quality: float | None
    capacities: Sequence[Capacity]
    refused: Sequence[Refused]
    plans: Sequence[FleetPlan]
    trials: Sequence[Trial]
    hosted: Sequence[HostedCost]

    @property
    def plan(self) -> FleetPlan | None:
        """The fleet to buy, as large as the trials made it."""
        return self.trials[-1].plan if self.trials else None

    @property
    def is_met(self) -> bool:
        return bool(self.trials) and self.trials[-1].is_met

    @property
    def cost(self) -> Cost | None:
        """Of the fleet that is there for the peak, over the tokens of the day's mean."""
        if self.plan is None:
            return None
        return cost_of(self.plan.usd_per_hour, self.demand, requests_per_s=self.demand.mean_rps)

    def why_not(self) -> list[str]:
        """When there is no plan: sentences that say what would be feasible."""
        if self.plans:
            return []
        able = [one for one in self.capacities if one.rps > 0.0]
        if able:
            best = max(one.option.tier.quality_for("default") for one in able)
            return [
                f"No tier that is in time reaches quality {self.min_quality:g}; the best of them "
                f"has {best:g}: ask for --min-quality {best:g} or less, or for a longer deadline."
            ]
        return _nothing_is_in_time(self)


def _nothing_is_in_time(answer: Answer) -> list[str]:
    demand = answer.demand
    sentences = [
        f"No tier meets {demand.slo.e2e_ms:g} ms for {demand.slo.attainment:.0%} of "
        f"{answer.slo_class!r} on any of these machines, even when idle."
    ]
    looked_at = [one for one in answer.capacities if one.limit == "impossible"]
    if looked_at:
        fastest = min(looked_at, key=lambda one: one.idle_e2e_s)
        tokens = longest_reply(fastest.option, demand)
        sentences.append(
            f"The fastest, {fastest.option.name}, needs {_milliseconds(fastest.idle_e2e_s)} ms: "
            f"feasible would be that deadline"
            + (f", or replies of {tokens} tokens." if tokens else ".")
        )
    for tier in sorted(
        {one.option.tier.tier for one in answer.capacities if one.limit == "context"}
    ):
        sentences.append(
            f"{tier}: too many prompts are longer than its window; raise max_model_len."
        )
    return sentences


def as_document(answer: Answer) -> dict[str, Any]:
    """The answer as plain values."""
    demand, plan, cost = answer.demand, answer.plan, answer.cost
    return {
        "demand": {
            "users": demand.users,
            "requests_per_user_hour": demand.requests_per_user_hour,
            "mean_rps": demand.mean_rps,
            "peak_factor": demand.peak_factor,
            "peak_rps": demand.peak_rps,
            "prompt_tokens": demand.prompt_tokens,
            "output_tokens": demand.output_tokens,
            "slo_class": answer.slo_class,
            "e2e_ms": demand.slo.e2e_ms,
            "attainment": demand.slo.attainment,
            "min_quality": answer.min_quality,
        },
        "options": [_option(one) for one in answer.capacities],
        "do_not_fit": [asdict(one) for one in answer.refused],
        "plans": [_plan(one) for one in answer.plans],
        "estimated": _plan(answer.plans[0]) if answer.plans else None,
        "trials": [_trial(one) for one in answer.trials],
        "fleet": _plan(plan) if plan is not None else None,
        "simulated": _trial(answer.trials[-1]) if answer.trials else None,
        "cost": asdict(cost) if cost is not None else None,
        "hosted": [
            {"name": one.name, **one.price.model_dump(), "cost": asdict(one.cost)}
            for one in answer.hosted
        ],
        "why_not": answer.why_not(),
        "is_met": answer.is_met,
    }


def _option(capacity: Capacity) -> dict[str, Any]:
    option = capacity.option
    return {
        "tier": option.tier.tier,
        "accelerator": option.accelerator,
        "accelerators_per_replica": option.count,
        "usd_per_hour": option.tier.usd_per_hour,
        "batch": capacity.batch,
        "rps": capacity.rps,
        "limit": capacity.limit,
        "idle_e2e_ms": _milliseconds(capacity.idle_e2e_s),
        "prefill_share": capacity.blocked_share,
    }


def _plan(plan: FleetPlan) -> dict[str, Any]:
    return {
        "parts": [
            {
                "tier": part.capacity.option.tier.tier,
                "accelerator": part.capacity.option.accelerator,
                "accelerators_per_replica": part.capacity.option.count,
                "replicas": part.replicas,
                "share": part.share,
                "limit": part.capacity.limit,
            }
            for part in plan.parts
        ],
        "usd_per_hour": plan.usd_per_hour,
        "quality": plan.quality,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "replicas": [part.replicas for part in trial.plan.parts],
        "requests": trial.requests,
        "attainment": trial.attainment,
        "accept_rate": trial.accept_rate,
        "quality": trial.quality,
        # No reply, no percentile: JSON has no word for it.
        "e2e_s": {q: e2e_s if math.isfinite(e2e_s) else None for q, e2e_s in trial.e2e_s.items()},
        "is_met": trial.is_met,
    }


def _milliseconds(seconds: float) -> int | None:
    # Rounded up: a deadline that is told must be enough.
    return math.ceil(seconds * 1000) if math.isfinite(seconds) else None
