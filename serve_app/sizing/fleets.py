"""Which fleets serve a demand, cheapest first. Capacities in, fleets out; simulates nothing."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from serve_app.sizing.capacity import Capacity
from serve_app.sizing.demand import Demand


@dataclass(frozen=True, slots=True)
class Part:
    """One tier's replicas on one accelerator. share: of all requests that it is meant for."""

    capacity: Capacity
    share: float
    replicas: int

    @property
    def usd_per_hour(self) -> float:
        return self.replicas * self.capacity.option.tier.usd_per_hour

    @property
    def quality(self) -> float:
        return self.capacity.option.tier.quality_for("default")


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Replicas of one tier, or of two, the better one first."""

    parts: tuple[Part, ...]

    @property
    def usd_per_hour(self) -> float:
        return sum(part.usd_per_hour for part in self.parts)

    @property
    def quality(self) -> float:
        """Of a reply, in the mean."""
        return sum(part.share * part.quality for part in self.parts)

    @property
    def name(self) -> str:
        return " + ".join(f"{part.replicas} x {part.capacity.option.name}" for part in self.parts)

    def grown(self, *, only_best: bool) -> "FleetPlan":
        """With a twentieth more replicas of each tier, one at least, or only of the best tier."""
        grown = [
            part if only_best and number else replace(part, replicas=_grown(part.replicas))
            for number, part in enumerate(self.parts)
        ]
        return FleetPlan(tuple(grown))


def fleets(
    capacities: Sequence[Capacity], demand: Demand, *, min_quality: float | None
) -> list[FleetPlan]:
    """Each tier alone and each two of them, where they reach `min_quality`; cheapest first.

    Of two tiers the better one gets the smallest share that reaches the quality. Empty when there
    is none.
    """
    able = [capacity for capacity in capacities if capacity.rps > 0.0]
    plans = [_fleet([(one, 1.0)], demand) for one in able]
    if min_quality is not None:
        plans = [plan for plan in plans if plan.quality >= min_quality]
        plans += _mixes(able, demand, min_quality)
    return sorted(plans, key=lambda plan: plan.usd_per_hour)


def _mixes(able: Sequence[Capacity], demand: Demand, min_quality: float) -> Iterable[FleetPlan]:
    for better in able:
        for other in able:
            high = better.option.tier.quality_for("default")
            low = other.option.tier.quality_for("default")
            if low < min_quality < high:
                share = (min_quality - low) / (high - low)
                yield _fleet([(better, share), (other, 1.0 - share)], demand)


def _fleet(shares: Sequence[tuple[Capacity, float]], demand: Demand) -> FleetPlan:
    return FleetPlan(
        tuple(
            Part(one, share, max(1, math.ceil(demand.peak_rps * share / one.rps)))
            for one, share in shares
        )
    )


def _grown(replicas: int) -> int:
    return replicas + max(1, replicas // 20)
