"""What is simulated, apart from traffic and policy. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.config import Objective
from serve_app.routing.types import Slo
from serve_app.simulator.fleet.plans import Failure
from serve_app.simulator.fleet.tier import SimulatedTier


@dataclass(frozen=True, slots=True)
class Brain:
    """What a Chooser is configured with."""

    objective: Objective
    default_output_tokens: int
    max_outstanding_s: float


@dataclass(frozen=True, slots=True)
class AskedClass:
    """What one class of callers wants. share: of all requests."""

    name: str
    slo: Slo
    expected_output_tokens: int | None = None
    max_share: float = 1.0
    share: float = 1.0

    @property
    def route(self) -> str:
        """As the server names it, so that lengths are learned alike."""
        return f"{self.name}/default"


@dataclass(frozen=True, slots=True)
class Disturbances:
    """What makes a world less than ideal; all off by default.

    staleness_s: age of the load that routers see. num_routers: who share the tiers. slow_down:
    from the middle of the run on, steps of every engine take so many times as long. patience: how
    often a refused caller comes back as told.
    """

    staleness_s: float = 0.0
    num_routers: int = 1
    slow_down: float = 1.0
    failures: tuple[Failure, ...] = ()
    patience: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """Tiers, who asks, and how the router is configured."""

    tiers: tuple[SimulatedTier, ...]
    classes: tuple[AskedClass, ...]
    brain: Brain
    disturbances: Disturbances = Disturbances()

    @property
    def best_first(self) -> list[str]:
        """Tier ids by quality."""
        ordered = sorted(self.tiers, key=lambda tier: tier.quality_for("default"), reverse=True)
        return [tier.tier for tier in ordered]

    @property
    def prices(self) -> Mapping[str, float]:
        """USD per hour of one replica."""
        return {tier.tier: tier.usd_per_hour for tier in self.tiers}

    @property
    def replicas(self) -> Mapping[str, int]:
        """At the start."""
        return {tier.tier: tier.replicas for tier in self.tiers}

    @property
    def context_tokens(self) -> int:
        """The largest window."""
        return max(tier.context_tokens for tier in self.tiers)
