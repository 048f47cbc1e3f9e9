"""How many replicas tiers should have. Signals and fleets in, numbers out; no Ray, no clock."""

import math
from collections.abc import Mapping

from serve_app.config import ScalingConfig
from serve_app.routing.live.demand import Signal
from serve_app.scaling.budget import TierFleet, within
from serve_app.scaling.start_times import StartTimes
from serve_app.scaling.trend import Trend

# Fewer replicas must carry the load with so much of the target's fill, or they come and go.
_DOWN_SHARE = 0.75


class Scaler:
    """Follows the tiers of one application; the server and the simulation use the same object."""

    def __init__(self, config: ScalingConfig) -> None:
        self._config = config
        self._trends: dict[str, Trend] = {}
        self._starts: dict[str, StartTimes] = {}

    def replicas(
        self, signals: Mapping[str, Signal], fleets: Mapping[str, TierFleet], *, now: float
    ) -> dict[str, int]:
        """Replicas wanted now, by tier; a tier of which nothing is heard keeps what it has."""
        wanted = {
            tier: self._wanted(tier, signals[tier], fleet, now) if tier in signals else fleet.target
            for tier, fleet in fleets.items()
        }
        if self._config.accelerators is None:
            return wanted
        return within(self._config.accelerators, wanted, fleets)

    def _wanted(self, tier: str, signal: Signal, fleet: TierFleet, now: float) -> int:
        trend = self._trends.setdefault(tier, Trend(self._config.memory_s))
        starts = self._starts.setdefault(tier, StartTimes(self._config.cold_start_s))
        trend.add(signal.outstanding + signal.kept_out, now=now)
        starts.look(fleet.running, fleet.target, now=now)
        per_replica = signal.fits * self._config.target_fill
        up = _ceil(trend.ahead(starts.usual_s) / per_replica)
        down = _ceil(trend.level / (per_replica * _DOWN_SHARE))
        # The last one goes when nobody wants it any more, not when few do.
        fewest = 0 if signal.is_idle and fleet.target <= 1 else 1
        up, down = max(up, fewest), max(down, fewest)
        number = fleet.target
        if up > number and not signal.is_idle:
            number = up
        elif down < number and (fleet.running >= number or down < fleet.running):
            # One that is starting is not given up for those that run: it was wanted, and is paid
            # for. One that finds no place to start must not keep the others.
            number = down
        return min(fleet.most, max(fleet.least, number))


def _ceil(replicas: float) -> int:
    # A mean that fades never gets to zero.
    return math.ceil(replicas - 0.01)
