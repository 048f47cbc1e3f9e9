"""How things are broken: processes of one running Tandem in, signals out."""

import asyncio
import random
import re
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import psutil

Kind = Literal[
    "replica", "engine", "router", "haproxy", "node", "controller", "gcs",
    "freeze", "slow", "update",
]  # fmt: skip

_FROZEN_S, _WITHOUT_GCS_S = 8.0, 8.0
_SLOW_S, _STOPPED_S, _RUNNING_S = 6.0, 0.18, 0.02
_PORT = "--gcs_server_port"
# The first word of what a process is called by Ray, vLLM or its file.
_TITLES: dict[Kind, re.Pattern[str]] = {
    "replica": re.compile(r"ray::ServeReplica:[^:]*:tier-"),
    "engine": re.compile(r"VLLM::EngineCore"),
    "router": re.compile(r"ray::ServeReplica:[^:]*:router"),
    "haproxy": re.compile(r"(.*/)?haproxy$"),
    "node": re.compile(r".*/raylet$"),
    "controller": re.compile(r"ray::ServeController"),
    "gcs": re.compile(r".*/gcs_server$"),
}


@dataclass(frozen=True, slots=True)
class Victim:
    """What was broken.

    pid: the process, None where none was killed. replicas: how many tiers' replicas are wanted from
    now on, where that changed.
    """

    kind: Kind
    pid: int | None
    title: str
    replicas: int | None = None


class Faults:
    """Breaks one thing at a time.

    Args:
        processes: those of the running Tandem, now. update: deploys another version of its file,
            says which and how many replicas it wants; None where none is to be deployed.
    """

    def __init__(
        self,
        processes: Callable[[], Sequence[psutil.Process]],
        draw: random.Random,
        update: Callable[[], Awaitable[tuple[str, int]]] | None = None,
    ) -> None:
        self._processes = processes
        self._draw = draw
        self._update = update
        # Ends with the cluster, after this loop: asyncio would complain of a child of its own.
        self._gcs: subprocess.Popen[bytes] | None = None

    def alive(self, kind: Kind) -> list[psutil.Process]:
        """Processes of the kind that run and are not stopped, as far as they can be told apart."""
        title = _TITLES[kind]
        found = [process for process in self._processes() if title.match(_title(process))]
        # The head's raylet is the first one; it takes the controller along and is no such fault.
        return (
            sorted(found, key=lambda process: process.create_time())[1:]
            if kind == "node"
            else found
        )

    async def cause(self, kind: Kind) -> Victim | None:
        """Breaks one of the kind; None when there is none to break.

        What is frozen, slowed down or restarted has been so for some seconds when this returns.
        """
        if kind == "update":
            return await self._updated()
        target = self._target(kind)
        if target is None:
            return None
        victim = Victim(kind, target.pid, _title(target))
        if kind == "freeze":
            target.send_signal(signal.SIGSTOP)
            await asyncio.sleep(_FROZEN_S)
        elif kind == "slow":
            await _slow_down(target)
        elif kind == "gcs":
            self._gcs = await _restarted(target)
        else:
            target.kill()
        return victim

    async def _updated(self) -> Victim | None:
        if self._update is None:
            return None
        what, replicas = await self._update()
        return Victim("update", None, what, replicas)

    async def end(self, victim: Victim) -> None:
        """Lets go of what was only stopped."""
        if victim.kind == "freeze" and victim.pid is not None:
            with suppress(psutil.Error):
                psutil.Process(victim.pid).send_signal(signal.SIGCONT)

    def _target(self, kind: Kind) -> psutil.Process | None:
        if kind in ("freeze", "slow"):
            found = self.alive("engine") or self.alive("replica")
        else:
            found = self.alive(kind)
        if kind == "node":
            # One that holds a tier: of another, nobody misses anything.
            found = [node for node in found if _holds_a_tier(node)] or found
        if kind == "haproxy":
            # Older ones only see their last connections off.
            return max(found, key=lambda process: process.create_time(), default=None)
        return self._draw.choice(found) if found else None


async def _restarted(process: psutil.Process) -> subprocess.Popen[bytes]:
    """Kills it and starts the same again after a while, as whoever looks after a head node does."""
    command, environment = command_with_port(process), process.environ()
    process.kill()
    await asyncio.sleep(_WITHOUT_GCS_S)
    return subprocess.Popen(  # noqa: ASYNC220
        command, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def command_with_port(process: psutil.Process) -> list[str]:
    """What started a GCS, and the port at which it listens now.

    Ray lets it choose one, and tells everybody else: at another, nobody would find it.
    """
    port = next(c.laddr.port for c in process.net_connections("tcp") if c.status == "LISTEN")
    return [part.replace(f"{_PORT}=0", f"{_PORT}={port}") for part in process.cmdline()]


async def _slow_down(process: psutil.Process) -> None:
    """Lets it run for a tenth of the time, as behind a network that loses most packets."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + _SLOW_S
    with suppress(psutil.Error):
        try:
            while loop.time() < until_s:
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(_STOPPED_S)
                process.send_signal(signal.SIGCONT)
                await asyncio.sleep(_RUNNING_S)
        finally:
            process.send_signal(signal.SIGCONT)


def _holds_a_tier(raylet: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(_TITLES["replica"].match(_title(child)) for child in raylet.children())
    return False


def _title(process: psutil.Process) -> str:
    """Empty when it is gone or stopped."""
    with suppress(psutil.Error):
        words = [] if process.status() == psutil.STATUS_STOPPED else process.cmdline()
        return words[0].split(" ")[0] if words else ""
    return ""
