"""A tier that sleeps, as callers meet it. Tiers in memory, a clock that the test moves."""

import asyncio
from typing import Any

import pytest

from serve_app.dispatch.dispatcher import Dispatcher
from serve_app.errors import DeadlineExceeded, Unavailable
from tests.unit.builders import FAST, SLOW, a_config, an_ask
from tests.unit.dispatch.test_dispatcher import a_state
from tests.unit.resilience.test_failover import CountingTier, Words
from tests.unit.telemetry.recording import a_recorder


class Sleeping:
    """A dispatcher whose large tier has no replica and never had one."""

    def __init__(self, **scaling: Any) -> None:
        self.now = 0.0
        self.tiers = {"small": CountingTier(), "large": CountingTier()}
        self.states = {"small": a_state("small", FAST, 1.0), "large": a_state("large", SLOW, 2.0)}
        self.states["large"].num_replicas = 0
        small, large = a_config().model_dump(exclude_unset=True)["llm_configs"]
        large["deployment_config"] = {"autoscaling_config": {"min_replicas": 0}}
        counters: dict[str, Any] = {"small": Words()}
        recorder, _ = a_recorder()
        self.dispatcher = Dispatcher(
            a_config(llm_configs=[small, large], scaling=scaling), self.tiers, self.states,
            counters, recorder, clock=lambda: self.now,
        )  # fmt: skip


async def test_who_names_no_tier_is_answered_by_another_one_meanwhile() -> None:
    router = Sleeping()
    _, record = await router.dispatcher.complete(an_ask())
    assert record.tier == "small"
    assert router.states["large"].signal(0.0).kept_out > 0


async def test_who_names_it_waits_until_it_is_there_and_is_counted_once() -> None:
    # Given somebody who names the sleeping tier
    router = Sleeping()
    waiting = asyncio.create_task(router.dispatcher.complete(an_ask(pinned_tier="large")))
    await asyncio.sleep(0)
    wanted = router.states["large"].signal(0.0).kept_out
    # When it has come
    router.states["large"].num_replicas = 1
    _, record = await waiting
    # Then it answers
    assert record.tier == "large"
    assert router.states["large"].signal(0.0).kept_out == wanted > 0


@pytest.mark.parametrize(("hold_s", "error"), [(0.0, Unavailable), (1e9, DeadlineExceeded)])
async def test_nobody_waits_longer_than_is_allowed(hold_s: float, error: type[Exception]) -> None:
    router = Sleeping(hold_s=hold_s)
    waiting = asyncio.create_task(router.dispatcher.complete(an_ask(pinned_tier="large")))
    await asyncio.sleep(0)
    router.now = 61.0
    with pytest.raises(error):
        await waiting


async def test_nobody_waits_for_a_tier_that_ray_would_never_start() -> None:
    router = Sleeping(by="ongoing-requests")
    with pytest.raises(Unavailable):
        await router.dispatcher.complete(an_ask(pinned_tier="large"))
