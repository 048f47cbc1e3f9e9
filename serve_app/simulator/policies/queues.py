"""Rules that look at the replicas' queues. Loads and requests in, tier names out."""

import random
from collections.abc import Sequence

from serve_app.routing.types import RoutingRequest
from serve_app.simulator.fleet.members import LoadBoard, ReplicaLoad
from serve_app.simulator.policies.rule import Unlearning


class LeastQueue(Unlearning):
    """The replica with the fewest requests, of all tiers; the first of equals."""

    def __init__(self, tiers: Sequence[str], board: LoadBoard) -> None:
        self._tiers = tiers
        self._board = board

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        return min(self._tiers, key=lambda tier: _shortest(self._board.of(tier, now)))


class PowerOfTwo(Unlearning):
    """Of two replicas drawn at random the one with fewer requests (Mitzenmacher 2001)."""

    def __init__(self, tiers: Sequence[str], board: LoadBoard, randomness: random.Random) -> None:
        self._tiers = tiers
        self._board = board
        self._randomness = randomness

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        replicas = [
            (_length(load), tier) for tier in self._tiers for load in self._board.of(tier, now)
        ]
        if len(replicas) < 2:
            return replicas[0][1] if replicas else None
        drawn = self._randomness.sample(replicas, 2)
        return min(drawn, key=lambda replica: replica[0])[1]


def _shortest(loads: Sequence[ReplicaLoad]) -> float:
    return min(map(_length, loads), default=float("inf"))


def _length(load: ReplicaLoad) -> int:
    return load.running + load.waiting
