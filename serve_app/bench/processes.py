"""A server of somebody else's as a child process: started, waited for, ended with its children."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from serve_app.bench.client import Address

# The kernel ends the server when we die, even by `kill -9`. Set before the server's own program
# starts; it stays set across exec. PR_SET_PDEATHSIG is 1.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""
_PATIENCE_S = 300.0
_GRACE_S = 20.0
_POLL_S = 0.25


class ServerFailed(RuntimeError):
    """A server ended or did not answer in time; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started and when it is ready.

    environment: on top of ours. ready_path: answers 200 once the server can be measured.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    ready_path: str
    log: Path


@contextmanager
def serving(command: Command, address: Address) -> Iterator[Address]:
    """Runs the server until the end of the block.

    Raises:
        ServerFailed: it did not become ready.
    """
    with serving_all({address: command}):
        yield address


@contextmanager
def serving_all(commands: Mapping[Address, Command]) -> Iterator[None]:
    """Runs servers until the end of the block; they start at the same time.

    Raises:
        ServerFailed: one did not become ready.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands.values():
            with command.log.open("wb") as log, uninterrupted():
                processes.append(_start(command, log))
        for process, (address, command) in zip(processes, commands.items(), strict=True):
            _wait_until_ready(process, command, address)
        yield
    finally:
        with uninterrupted():
            for process in processes:
                _end(process)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C and `kill` back within the block: what was started is known, and is ended."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: asked.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt


@contextmanager
def alone(folder: Path) -> Iterator[Path]:
    """Holds the folder for one measurement; the kernel lets it go even after `kill -9`.

    Raises:
        ServerFailed: another one holds it.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise ServerFailed("another measurement is running; two would slow each other") from err
        yield folder


def refuse_taken(addresses: Sequence[Address]) -> None:
    """
    Raises:
        ServerFailed: something listens on one of the addresses.
    """
    for host, port in addresses:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                raise ServerFailed(
                    f"something already listens on {host}:{port}, which this measurement needs; "
                    "stop it first (`ss -ltnp` tells what it is)"
                )


def _start(command: Command, log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _DIE_WITH_PARENT, *command.arguments],
        env=os.environ | command.environment,
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip


def _wait_until_ready(process: subprocess.Popen[bytes], command: Command, at: Address) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _failed(command, f"ended with status {process.returncode}")
        if _is_ready(f"http://{at.host}:{at.port}{command.ready_path}"):
            return
        time.sleep(_POLL_S)
    raise _failed(command, f"was not ready after {_PATIENCE_S:.0f} s")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False


def _failed(command: Command, what: str) -> ServerFailed:
    lines = command.log.read_text(errors="replace").splitlines()[-20:]
    name = " ".join(command.arguments[:4])
    return ServerFailed("\n".join([*lines, f"`{name} ...` {what}; its log is {command.log}"]))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the whole process group to end, then makes it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
