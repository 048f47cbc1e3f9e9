"""Carries out what a way to scale wants, with Serve's bounds and delays, in simulated time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from serve_app.bench.autoscaling.wishes import Wishes
from serve_app.scaling.budget import TierFleet
from serve_app.simulator.fleet.plans import Scaling
from serve_app.simulator.world import World

_LOOKS_EVERY_S = 1.0


@dataclass(slots=True)
class Actuator:
    """Follows all tiers of a world from `start` on.

    bounds, accelerators: by tier; a replica that is ordered serves after its `cold_start_s`.
    """

    world: World
    wishes: Wishes
    bounds: Mapping[str, Scaling]
    accelerators: Mapping[str, int]
    most_accelerators: int = 0
    _starting: dict[str, int] = field(default_factory=dict)
    _since_s: dict[tuple[str, bool], float] = field(default_factory=dict)

    def start(self) -> None:
        self.world.at(0.0, self._look)

    def _look(self, now: float) -> None:
        self._release(now)
        fleets = {tier: self._fleet(tier) for tier in self.bounds}
        used = sum(fleet.target * fleet.accelerators for fleet in fleets.values())
        self.most_accelerators = max(self.most_accelerators, used)
        serving = self.world.fleet.serving
        ongoing = {tier: sum(m.num_requests for m in serving[tier]) for tier in self.bounds}
        wanted = self.wishes.at(now, fleets, ongoing)
        for tier, scaling in self.bounds.items():
            number = min(scaling.max_replicas, max(scaling.min_replicas, wanted[tier]))
            self._steer(tier, number - fleets[tier].target, scaling, now)
        if self.world.is_open:
            self.world.at(now + _LOOKS_EVERY_S, self._look)

    def _steer(self, tier: str, change: int, scaling: Scaling, now: float) -> None:
        """Serve's delays: a change is carried out once it was wanted for long without a break."""
        if self._is_ripe((tier, True), change > 0, scaling.upscale_delay_s, now):
            for _ in range(change):
                self._order(tier, scaling.cold_start_s, now)
        if self._is_ripe((tier, False), change < 0, scaling.downscale_delay_s, now):
            members = sorted(self.world.fleet.serving[tier], key=lambda m: m.num_requests)
            for member in members[:-change]:
                self.world.fleet.remove(member)
            self.world.scale(tier)

    def _is_ripe(self, wish: tuple[str, bool], is_wanted: bool, delay_s: float, now: float) -> bool:
        if not is_wanted:
            self._since_s.pop(wish, None)
            return False
        if now - self._since_s.setdefault(wish, now) < delay_s:
            return False
        del self._since_s[wish]
        return True

    def _fleet(self, tier: str) -> TierFleet:
        running, bounds = len(self.world.fleet.serving[tier]), self.bounds[tier]
        return TierFleet(
            running=running,
            target=running + self._starting.get(tier, 0),
            least=bounds.min_replicas,
            most=bounds.max_replicas,
            accelerators=self.accelerators[tier],
        )

    def _order(self, tier: str, cold_start_s: float, now: float) -> None:
        def serve(_: float) -> None:
            self._starting[tier] -= 1
            self.world.fleet.add(tier, ordered_at_s=now)
            self.world.scale(tier)

        self._starting[tier] = self._starting.get(tier, 0) + 1
        self.world.at(now + cold_start_s, serve)

    def _release(self, now: float) -> None:
        """Those that leave are paid for until they have finished what they had."""
        for member in self.world.fleet.paid:
            if member.is_leaving and member.ended_at_s is None and not member.num_requests:
                member.ended_at_s = now
