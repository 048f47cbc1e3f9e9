"""Starts HAProxy again at once when it dies; Ray itself notices after three health checks, 30 s.

Ray's own replacement also knows no routers for a second and answers 404 meanwhile. So the actor
that looks after HAProxy is given a task that starts it again with the configuration it had.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import ray

log = logging.getLogger("ray.serve.tandem")

_NAMESPACE = "serve"
_MANAGER = "SERVE_PROXY_ACTOR-"
_FIND_EVERY_S = 2.0
_LOOK_EVERY_S = 0.05


@contextmanager
def guarded() -> Iterator[None]:
    """Guards every HAProxy of the cluster, later ones too, until the end of the block."""
    is_over = Event()
    thread = Thread(target=_guard_all, args=(is_over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _guard_all(is_over: Event) -> None:
    while True:
        try:
            for actor in ray.util.list_named_actors(all_namespaces=True):
                if actor["namespace"] == _NAMESPACE and _MANAGER in actor["name"]:
                    manager = ray.get_actor(actor["name"], namespace=_NAMESPACE)
                    manager.__ray_call__.remote(guard)
        except Exception as err:
            # The actor went meanwhile, or Ray's head is away.
            log.warning("A new HAProxy is not guarded for now: %r", err)
        if is_over.wait(_FIND_EVERY_S):
            return


def guard(manager: Any) -> None:
    """Runs in Ray's `HAProxyManager`; once is enough. Proxies of another kind have no HAProxy."""
    if hasattr(manager, "_haproxy") and not hasattr(manager, "_tandem_guard"):
        manager._tandem_guard = manager.event_loop.create_task(_keep_running(manager))


async def _keep_running(manager: Any) -> None:
    was_dead = False
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        # Seen twice: for a moment, one that is being stopped looks like one that died.
        is_dead = _is_dead(manager)
        if not (is_dead and was_dead):
            was_dead = is_dead
            continue
        async with manager._reload_lock:
            if _is_dead(manager):
                log.error("HAProxy died; starting it again.")
                try:
                    await manager._haproxy.start()
                except (RuntimeError, OSError) as err:
                    log.error("HAProxy did not start: %s", err)


def _is_dead(manager: Any) -> bool:
    process = manager._haproxy._proc
    return process is not None and process.returncode is not None
