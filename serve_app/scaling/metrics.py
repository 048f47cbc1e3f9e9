"""Signals as Serve carries them: names and numbers. Knows no Ray."""

from collections.abc import Mapping

from serve_app.routing.live.demand import Signal

_PREFIX = "tandem"
_PARTS = ("outstanding", "kept_out", "fits")


def as_metrics(signals: Mapping[str, Signal]) -> dict[str, float]:
    """One router's signals, by tier, as custom autoscaling metrics."""
    return {
        _name(part, tier): float(getattr(signal, part))
        for tier, signal in signals.items()
        for part in _PARTS
    }


def summed(metrics: Mapping[str, Mapping[object, float]], tier: str) -> Signal | None:
    """All routers' signals of one tier as one; None when no router has said anything.

    Args:
        metrics: by name, then by router replica, as `AutoscalingContext.aggregated_metrics`.
    """
    outstanding, kept_out, fits = (metrics.get(_name(part, tier), {}) for part in _PARTS)
    if not outstanding:
        return None
    return Signal(
        outstanding=sum(outstanding.values()),
        kept_out=sum(kept_out.values()),
        # Each router sees a part of the same tier; none of them knows better.
        fits=sum(fits.values()) / len(fits),
    )


def _name(part: str, tier: str) -> str:
    return f"{_PREFIX}/{part}/{tier}"
