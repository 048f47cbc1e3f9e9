"""Where the controller keeps what one application's routers and tiers said. Knows no Ray.

Serve asks one policy per deployment, pickled with its module by value; what they share is here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from serve_app.config import ScalingConfig
from serve_app.scaling.budget import TierFleet
from serve_app.scaling.metrics import summed
from serve_app.scaling.scaler import Scaler

_FORGOTTEN_AFTER_S = 30.0


@dataclass(slots=True)
class Board:
    """One application: what its routers said last, and the fleets that its tiers showed."""

    metrics: Mapping[str, Mapping[object, float]] = field(default_factory=dict)
    _scaler: Scaler | None = None
    _config: ScalingConfig | None = None
    _fleets: dict[str, tuple[TierFleet, float]] = field(default_factory=dict)

    def replicas(self, tier: str, fleet: TierFleet, config: ScalingConfig, *, now: float) -> int:
        """How many replicas the tier should have, beside the others as they were last seen."""
        if self._scaler is None or self._config != config:
            self._scaler, self._config = Scaler(config), config
        self._fleets[tier] = (fleet, now)
        for other, (_, seen_at_s) in list(self._fleets.items()):
            if now - seen_at_s > _FORGOTTEN_AFTER_S:
                del self._fleets[other]
        fleets = {other: seen for other, (seen, _) in self._fleets.items()}
        heard = {other: summed(self.metrics, other) for other in fleets}
        signals = {other: signal for other, signal in heard.items() if signal is not None}
        return self._scaler.replicas(signals, fleets, now=now)[tier]


_boards: dict[str, Board] = {}


def board_of(application: str) -> Board:
    return _boards.setdefault(application, Board())
