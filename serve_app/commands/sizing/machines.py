"""The file's tiers on accelerators that it may not name. A configuration in, options out."""

import math
from collections.abc import Sequence
from dataclasses import replace

from deployments.spec import TierSpec
from serve_app.check.tier.models import find_shape
from serve_app.check.tier.sizing import size_tier
from serve_app.commands.simulation.fleet import simulated
from serve_app.config import AppConfig
from serve_app.routing.speed.accelerators import ACCELERATORS
from serve_app.simulator.fleet.probe import measured
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.sizing.capacity import Option, Refused
from serve_app.sizing.prices import PriceList

# Two all-reduces per layer and doubling of the accelerators, some 15 us each over NVLink with CUDA
# graphs. An order of magnitude, slower over PCIe; the simulator's timing alone has none.
_SYNC_S_PER_LAYER_AND_DOUBLING = 30e-6


def options_of(
    config: AppConfig, accelerators: Sequence[str], counts: Sequence[int], prices: PriceList
) -> tuple[list[Option], list[Refused]]:
    """Every tier on so many of every accelerator, and those whose weights do not fit.

    Raises:
        ValueError: an accelerator or its price is unknown, or a tier cannot be simulated.
    """
    for name in accelerators:
        if name not in ACCELERATORS:
            raise ValueError(f"--accelerators names {name!r}; known are {', '.join(ACCELERATORS)}.")
        if name not in prices.accelerators:
            raise ValueError(
                f"No price is known of {name!r}: give --price {name}=USD per hour and accelerator."
            )
    options: list[Option] = []
    refused: list[Refused] = []
    for spec in config.llm_configs:
        for name in accelerators:
            for count in counts:
                usd = prices.accelerators[name].usd_per_hour * count
                moved = _moved(spec, name, count, usd)
                problem = size_tier(moved).problem
                if problem is not None:
                    refused.append(Refused(spec.model_id, name, count, problem))
                else:
                    options.append(Option(name, count, _tier(moved, count)))
    return options, refused


def _moved(spec: TierSpec, accelerator: str, count: int, usd_per_hour: float) -> TierSpec:
    """The tier as if its file named this accelerator, `count` of which hold its weights."""
    if spec.fake is not None:
        raise ValueError(
            f"Tier {spec.model_id!r} is a fake one, which no accelerator makes faster."
        )
    kwargs = {k: v for k, v in spec.engine_kwargs.items() if k != "pipeline_parallel_size"}
    routing = {"accelerator": accelerator, "usd_per_hour": usd_per_hour}
    return spec.model_copy(
        update={
            "engine_kwargs": kwargs | {"tensor_parallel_size": count},
            "routing": spec.routing.model_copy(update=routing),
        }
    )


def _tier(spec: TierSpec, count: int) -> SimulatedTier:
    tier = simulated(spec)
    source = spec.model_loading_config.model_source or spec.model_id
    shape = find_shape(str(source), spec.engine_kwargs)
    if count == 1 or shape is None:
        return tier
    sync_s = _SYNC_S_PER_LAYER_AND_DOUBLING * shape.layers * math.log2(count)
    synced = replace(tier, timing=replace(tier.timing, host_s=tier.timing.host_s + sync_s))
    return replace(synced, profile=measured(lambda: synced.replica(0)))
