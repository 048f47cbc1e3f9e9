"""Settings along one axis. A setting and values in, settings out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum

from serve_app.simulator.experiment.traffic import Plan
from serve_app.simulator.fleet.setting import Setting


class Axis(StrEnum):
    """What is varied."""

    load = "load"
    slo = "slo"
    staleness = "staleness"
    drift = "drift"
    large = "large"
    small = "small"


DEFAULTS: dict[Axis, tuple[float, ...]] = {
    Axis.load: (0.3, 0.5, 0.7, 0.9, 1.1, 1.3),
    Axis.slo: (2.0, 5.0, 10.0, 20.0),
    Axis.staleness: (0.0, 2.0, 5.0, 10.0),
    Axis.drift: (0.7, 1.0, 1.5, 2.0),
    Axis.large: (1.0, 2.0, 4.0),
    Axis.small: (1.0, 2.0, 4.0),
}
LABELS: dict[Axis, str] = {
    Axis.load: "load; 1 is the most that the clairvoyant can serve",
    Axis.slo: "SLO of the whole reply, s",
    Axis.staleness: "age of load reports, s",
    Axis.drift: "slow-down of all engines from the middle on",
    Axis.large: "replicas of the best tier",
    Axis.small: "replicas of the last tier",
}


# What these change moves the rate at load 1, and the load is to stay the same share of it.
_RESIZING = (Axis.slo, Axis.large, Axis.small)


def along(
    axis: Axis, values: Sequence[float], setting: Setting, plan: Plan
) -> Iterator[tuple[float, Setting, Plan]]:
    """The setting and the plan at each value."""
    if axis in _RESIZING:
        plan = replace(plan, full_per_s=None)
    for value in values:
        if axis == Axis.load:
            yield value, setting, replace(plan, load=value)
        else:
            yield value, _changed(axis, value, setting), plan


def _changed(axis: Axis, value: float, setting: Setting) -> Setting:
    disturbances = setting.disturbances
    if axis == Axis.slo:
        classes = (
            replace(one, slo=replace(one.slo, e2e_ms=value * 1000)) for one in setting.classes
        )
        return replace(setting, classes=tuple(classes))
    if axis == Axis.staleness:
        return replace(setting, disturbances=replace(disturbances, staleness_s=value))
    if axis == Axis.drift:
        return replace(setting, disturbances=replace(disturbances, slow_down=value))
    resized = setting.best_first[0 if axis == Axis.large else -1]
    tiers = (
        replace(tier, replicas=int(value)) if tier.tier == resized else tier
        for tier in setting.tiers
    )
    return replace(setting, tiers=tuple(tiers))
