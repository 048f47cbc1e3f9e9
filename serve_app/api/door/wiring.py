"""Builds a router's door from the configuration: keys, limits and who is let in without them."""

import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle

from serve_app.access.binding import refusal
from serve_app.access.counters import CountersHandle
from serve_app.access.keys.ring import KeyRing
from serve_app.access.keys.source import Keys, open_source
from serve_app.access.limits.limiter import Limiter
from serve_app.api.door.cluster import Neighbours, listening_host
from serve_app.api.door.visits import Visits
from serve_app.config import AppConfig


@dataclass(frozen=True, slots=True)
class Door:
    """keys, limiter, counters: None without keys. neighbours: None lets everybody in."""

    keys: Keys | None
    limiter: Limiter | None
    counters: CountersHandle | None
    neighbours: Neighbours | None
    visits: Visits

    @property
    def ring(self) -> Callable[[], KeyRing] | None:
        """The keys in force, whenever it is called."""
        keys = self.keys
        return None if keys is None else lambda: keys.ring

    async def usage(self) -> Mapping[str, Mapping[str, float]]:
        return await self.counters.usage() if self.counters else {}

    def background(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run as long as the door is open."""
        tasks = [self.keys.watch()] if self.keys else []
        if self.limiter is not None:
            tasks.append(self.limiter.run())
        if self.neighbours is not None:
            tasks.append(self.neighbours.watch())
        return tasks


def open_door(config: AppConfig, counters: DeploymentHandle | None, router: str) -> Door:
    """Reads the keys and connects to the shared counters.

    Args:
        counters: the deployment `Counters`, where keys are asked for. router: this replica's name.

    Raises:
        KeysInvalid: there are no usable keys. RuntimeError: others reach us, and no keys are asked
        for.
    """
    prices = {tier.model_id: tier.routing.usd_per_hour for tier in config.llm_configs}
    usual = config.routing.default_output_tokens
    place = config.auth.keys
    if place is None or counters is None:
        why_not = refusal(listening_host(), config.auth)
        if why_not is not None:
            raise RuntimeError(why_not)
        neighbours = None if config.auth.open_to_everyone else Neighbours()
        return Door(None, None, None, neighbours, Visits(None, prices, usual))
    keys = Keys(open_source(place), place, config.auth.reload_every_s)
    keys.load()
    shared = CountersHandle(counters)
    limiter = Limiter(shared, router, time.monotonic)
    return Door(keys, limiter, shared, None, Visits(limiter, prices, usual))
