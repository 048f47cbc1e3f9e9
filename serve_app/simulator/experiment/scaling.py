"""Replicas that come and go with the load, and replicas that die. Loads in, changes out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from serve_app.simulator.fleet.plans import Failure, Scaling
from serve_app.simulator.world import World

_LOOKS_EVERY_S = 1.0


@dataclass(slots=True)
class _Wish:
    """More or fewer replicas, and since when that is wanted without a break."""

    since_s: float | None = None

    def is_ripe(self, is_wanted: bool, delay_s: float, now: float) -> bool:
        if not is_wanted:
            self.since_s = None
            return False
        self.since_s = now if self.since_s is None else self.since_s
        return now - self.since_s >= delay_s


@dataclass(slots=True)
class Autoscaler:
    """Follows one tier from `start` on."""

    world: World
    tier: str
    scaling: Scaling
    num_starting: int = 0
    more: _Wish = field(default_factory=_Wish)
    fewer: _Wish = field(default_factory=_Wish)

    def start(self, now: float) -> None:
        self.world.at(now, self._look)

    def _look(self, now: float) -> None:
        scaling, fleet = self.scaling, self.world.fleet
        for member in fleet.paid:
            if member.is_leaving and member.ended_at_s is None and not member.num_requests:
                member.ended_at_s = now
        members = fleet.serving[self.tier]
        have = len(members) + self.num_starting
        ongoing = sum(member.num_requests for member in members)
        wanted = math.ceil(ongoing / scaling.target_ongoing_requests)
        wanted = min(scaling.max_replicas, max(scaling.min_replicas, wanted))
        if self.more.is_ripe(wanted > have, scaling.upscale_delay_s, now):
            for _ in range(wanted - have):
                self._order(now)
        if self.fewer.is_ripe(wanted < have, scaling.downscale_delay_s, now) and len(members) > 1:
            fleet.remove(min(members, key=lambda member: member.num_requests))
            self.world.scale(self.tier)
        if self.world.is_open:
            self.world.at(now + _LOOKS_EVERY_S, self._look)

    def _order(self, now: float) -> None:
        def serve(_: float) -> None:
            self.num_starting -= 1
            self.world.fleet.add(self.tier, ordered_at_s=now)
            self.world.scale(self.tier)

        self.num_starting += 1
        self.world.at(now + self.scaling.cold_start_s, serve)


def plan_failures(world: World, failures: Sequence[Failure]) -> None:
    """Has each failure happen in its time, to the tier's busiest replica."""
    for failure in failures:
        world.at(failure.at_s, _failing(world, failure))


def _failing(world: World, failure: Failure) -> Callable[[float], None]:
    def fail(now: float) -> None:
        members = world.fleet.serving[failure.tier]
        if members:
            world.fail(max(members, key=lambda member: member.num_requests), now)
            world.at(now + failure.down_s, come_back)

    def come_back(now: float) -> None:
        world.fleet.add(failure.tier, ordered_at_s=now)
        world.scale(failure.tier)

    return fail
