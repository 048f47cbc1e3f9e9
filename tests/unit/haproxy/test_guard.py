"""A HAProxy that died is started again. Ray's manager of it in memory."""

import asyncio
from types import SimpleNamespace

from serve_app.haproxy.guard import guard


class HAProxyInMemory:
    """Was killed; the first `refusals` starts fail."""

    def __init__(self, refusals: int) -> None:
        self._proc = SimpleNamespace(returncode=-9)
        self.refusals = refusals
        self.is_started = asyncio.Event()

    async def start(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise RuntimeError("crashed during startup")
        self._proc = SimpleNamespace(returncode=None)
        self.is_started.set()


async def test_a_haproxy_that_died_is_started_until_it_runs() -> None:
    haproxy = HAProxyInMemory(refusals=2)
    manager = SimpleNamespace(
        _haproxy=haproxy, _reload_lock=asyncio.Lock(), event_loop=asyncio.get_running_loop()
    )
    guard(manager)
    async with asyncio.timeout(10.0):
        await haproxy.is_started.wait()
    manager._tandem_guard.cancel()


async def test_a_manager_is_guarded_once_and_a_proxy_of_another_kind_never() -> None:
    manager = SimpleNamespace(
        _haproxy=HAProxyInMemory(0), _reload_lock=asyncio.Lock(),
        event_loop=asyncio.get_running_loop(),
    )  # fmt: skip
    guard(manager)
    task = manager._tandem_guard
    guard(manager)
    assert manager._tandem_guard is task
    task.cancel()
    other = SimpleNamespace(event_loop=asyncio.get_running_loop())
    guard(other)
    assert not hasattr(other, "_tandem_guard")
