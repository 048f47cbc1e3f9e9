"""Tiers that share accelerators. What each wants in, what each gets out."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TierFleet:
    """One tier's replicas: serving, asked for, and the bounds that the configuration sets.

    accelerators: of one replica.
    """

    running: int
    target: int
    least: int
    most: int
    accelerators: int = 1


def within(
    accelerators: int, wanted: Mapping[str, int], fleets: Mapping[str, TierFleet]
) -> dict[str, int]:
    """Replicas by tier, so that all together need no more than there is.

    Everybody gets the least, then one after the other whoever has the smallest part of what it
    wants. Nobody grows into accelerators that another one still holds.
    """
    given = {tier: min(fleets[tier].least, number) for tier, number in wanted.items()}
    free = accelerators - sum(fleets[tier].accelerators * n for tier, n in given.items())
    while short := [
        tier for tier, number in given.items()
        if number < wanted[tier] and fleets[tier].accelerators <= free
    ]:  # fmt: skip
        tier = min(short, key=lambda tier: given[tier] / wanted[tier])
        given[tier] += 1
        free -= fleets[tier].accelerators
    held = sum(fleet.accelerators * fleet.target for fleet in fleets.values())
    room = max(0, accelerators - held)
    for tier, number in given.items():
        more = max(0, number - fleets[tier].target)
        allowed = min(more, room // max(1, fleets[tier].accelerators))
        given[tier] -= more - allowed
        room -= allowed * fleets[tier].accelerators
    return given
