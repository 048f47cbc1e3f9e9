"""Three ways to say how many replicas are wanted, in simulated time. A moment in, numbers out."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from serve_app.routing.live.state import TierState
from serve_app.scaling.budget import TierFleet
from serve_app.scaling.scaler import Scaler

_LOOK_BACK_S = 30
_DOWN_SHARE = 0.5
_QUANTILE = 0.95


class Wishes(Protocol):
    """Replicas by tier that one way to scale wants at a moment."""

    def at(
        self, now: float, fleets: Mapping[str, TierFleet], ongoing: Mapping[str, int]
    ) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class ByRouterSignal:
    """Tandem's: the server's own objects. states: those that the simulated router decides by."""

    scaler: Scaler
    states: Mapping[str, TierState]

    def at(
        self, now: float, fleets: Mapping[str, TierFleet], ongoing: Mapping[str, int]
    ) -> Mapping[str, int]:
        signals = {tier: state.signal(now) for tier, state in self.states.items()}
        return self.scaler.replicas(signals, fleets, now=now)


@dataclass(slots=True)
class ByOngoingRequests:
    """Ray Serve's: the mean of ongoing requests over half a minute, so many to a replica.

    targets: by tier.
    """

    targets: Mapping[str, float]
    _seen: dict[str, deque[int]] = field(default_factory=dict)

    def at(
        self, now: float, fleets: Mapping[str, TierFleet], ongoing: Mapping[str, int]
    ) -> Mapping[str, int]:
        wanted = {}
        for tier, count in ongoing.items():
            seen = self._seen.setdefault(tier, deque(maxlen=_LOOK_BACK_S))
            seen.append(count)
            wanted[tier] = math.ceil(sum(seen) / len(seen) / self.targets[tier])
        return wanted


@dataclass(slots=True)
class ByTtft:
    """One replica more while the 95th percentile of TTFT is above the target, one less below half.

    seen: by tier, when each of its latest replies was finished, and its TTFT.
    """

    target_s: float
    seen: Mapping[str, deque[tuple[float, float]]]

    def at(
        self, now: float, fleets: Mapping[str, TierFleet], ongoing: Mapping[str, int]
    ) -> Mapping[str, int]:
        return {tier: fleet.target + self._step(tier, now) for tier, fleet in fleets.items()}

    def _step(self, tier: str, now: float) -> int:
        seen = self.seen[tier]
        while seen and seen[0][0] < now - _LOOK_BACK_S:
            seen.popleft()
        if not seen:
            return -1
        ordered = sorted(ttft_s for _, ttft_s in seen)
        ttft_s = ordered[min(len(ordered) - 1, int(_QUANTILE * len(ordered)))]
        if ttft_s > self.target_s:
            return 1
        return -1 if ttft_s < _DOWN_SHARE * self.target_s else 0
