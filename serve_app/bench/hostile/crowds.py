"""Clients that hold a server up on purpose. An address in, open connections out; raw sockets."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from serve_app.bench.client import Address, post

_CHAT = "/v1/chat/completions"
_ENDLESS = b"HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
_SPARE_FILES = 500
_AT_ONCE = 500
_OPENS_WITHIN_S = 10.0
_LONGEST_READ = 100_000
_CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"


@dataclass(slots=True)
class Crowd:
    """What was opened. num_refused: connections that were not accepted or were closed at once."""

    name: str
    num_open: int = 0
    num_refused: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def gather(self, number: int, member: "Member", address: Address) -> None:
        """Starts so many members, some hundred at a time."""
        for begin in range(0, number, _AT_ONCE):
            wanted = min(_AT_ONCE, number - begin)
            before = self.num_open + self.num_refused
            self._tasks += [asyncio.create_task(member(address, self)) for _ in range(wanted)]
            with suppress(TimeoutError):
                async with asyncio.timeout(_OPENS_WITHIN_S):
                    while self.num_open + self.num_refused < before + wanted:
                        self._changed.clear()
                        await self._changed.wait()

    def opened(self) -> None:
        self.num_open += 1
        self._changed.set()

    def refused(self) -> None:
        self.num_refused += 1
        self._changed.set()

    async def disperse(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


Member: TypeAlias = Callable[[Address, Crowd], Coroutine[Any, Any, None]]


def most_connections() -> int:
    """As many sockets as this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - _SPARE_FILES


@asynccontextmanager
async def crowd(kind: str, number: int, address: Address) -> AsyncIterator[Crowd]:
    """So many clients of a kind, until the end of the block."""
    member = _MEMBERS[kind]
    gathered = Crowd(kind)
    await gathered.gather(number, member, address)
    try:
        yield gathered
    finally:
        await gathered.disperse()


@asynccontextmanager
async def _opened(
    address: Address, into: Crowd
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None]:
    """A connection that counts, None when there is none to be had."""
    try:
        reader, writer = await asyncio.open_connection(*address)
    except OSError:
        into.refused()
        yield None
        return
    into.opened()
    try:
        with suppress(OSError):
            yield reader, writer
    finally:
        writer.transport.abort()


async def _idle(address: Address, into: Crowd) -> None:
    """Connects and says nothing."""
    async with _opened(address, into) as connection:
        if connection is not None:
            await asyncio.Event().wait()


async def _half_open(address: Address, into: Crowd) -> None:
    """Sends half of its headers and falls silent."""
    async with _opened(address, into) as connection:
        if connection is not None:
            connection[1].write(b"POST " + _CHAT.encode() + b" HTTP/1.1\r\nhost: x\r\nx-")
            await asyncio.Event().wait()


async def _slow_writer(address: Address, into: Crowd) -> None:
    """Announces a body and sends a byte of it each second."""
    async with _opened(address, into) as connection:
        if connection is None:
            return
        _, writer = connection
        writer.write(b"POST " + _CHAT.encode() + b" " + _ENDLESS + b"content-length: 5000\r\n\r\n{")
        while True:
            await asyncio.sleep(1.0)
            writer.write(b" ")
            await writer.drain()


async def _slow_reader(address: Address, into: Crowd) -> None:
    """Asks for a long stream and reads a byte of it each second."""
    message = {"role": "user", "content": "Hello"}
    body = {"model": "small", "stream": True, "max_tokens": 2000, "messages": [message]}
    async with _opened(address, into) as connection:
        if connection is None:
            return
        reader, writer = connection
        # A small window, so that what is not read stays with the server.
        reader._limit = 1  # type: ignore[attr-defined]
        writer.write(post(address, _CHAT, body | {"fake": {"output_tokens": 2000}}))
        for _ in range(_LONGEST_READ):
            await asyncio.sleep(1.0)
            if not await reader.read(1):
                return


async def _huge_body(address: Address, into: Crowd) -> None:
    """Sends a body without end, as fast as it is taken; begins again when it is cut off."""
    while True:
        async with _opened(address, into) as connection:
            if connection is None:
                return
            _, writer = connection
            head = (
                b"POST " + _CHAT.encode() + b" " + _ENDLESS + b"transfer-encoding: chunked\r\n\r\n"
            )
            writer.write(head)
            while not writer.transport.is_closing():
                writer.write(_CHUNK)
                await writer.drain()
        await asyncio.sleep(0.1)


_MEMBERS: dict[str, Member] = {
    "idle": _idle,
    "half-open": _half_open,
    "slow writers": _slow_writer,
    "slow readers": _slow_reader,
    "huge bodies": _huge_body,
}
