"""Builders of signals, fleets and scalers."""

from typing import Any

from serve_app.config import ScalingConfig
from serve_app.routing.live.demand import Signal
from serve_app.scaling.budget import TierFleet
from serve_app.scaling.scaler import Scaler


def a_fleet(have: int = 1, **changes: Any) -> TierFleet:
    defaults: dict[str, Any] = {"running": have, "target": have, "least": 0, "most": 8}
    return TierFleet(**(defaults | changes))


def a_signal(outstanding: float = 0.0, kept_out: float = 0.0, fits: float = 10.0) -> Signal:
    return Signal(outstanding, kept_out, fits)


def a_scaler(**changes: Any) -> Scaler:
    return Scaler(ScalingConfig.model_validate({"target_fill": 1.0, "cold_start_s": 20} | changes))


def steady(scaler: Scaler, signal: Signal, fleet: TierFleet, seconds: int = 600) -> int:
    """What is wanted once a signal has been the same for long."""
    for second in range(seconds):
        wanted = scaler.replicas({"large": signal}, {"large": fleet}, now=float(second))
    return wanted["large"]
