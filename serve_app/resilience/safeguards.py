"""What all requests of a router share when tiers fail: breakers, retry budget, quarantine."""

from collections.abc import Collection
from dataclasses import dataclass

from serve_app.config import ResilienceConfig
from serve_app.resilience.breaker import Breaker
from serve_app.resilience.quarantine import Quarantine
from serve_app.resilience.retry_budget import RetryBudget


@dataclass(frozen=True, slots=True)
class Safeguards:
    """breakers: by tier id."""

    config: ResilienceConfig
    breakers: dict[str, Breaker]
    budget: RetryBudget
    quarantine: Quarantine

    @classmethod
    def of(cls, config: ResilienceConfig, tiers: Collection[str]) -> "Safeguards":
        breakers = {tier: Breaker(config.allowed_fails, config.cooldown_time) for tier in tiers}
        budget, quarantine = RetryBudget(config.retry_budget), Quarantine(config.quarantine_s)
        return cls(config, breakers, budget, quarantine)

    def open_tiers(self, now: float) -> frozenset[str]:
        """Tiers that get no requests now; `now` is monotonic seconds."""
        return frozenset(tier for tier, breaker in self.breakers.items() if breaker.is_open(now))
