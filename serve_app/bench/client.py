"""The load tool: HTTP/1.1 over kept connections, one request at a time on each.

Ours, because one tool has to serve both sides of a ratio and nothing common fits: wrk sees no first
token in a stream and has to be installed with root, and on two cores a full HTTP client such as
httpx would take more time for itself than the router it measures. This one takes some 0.03 ms a
request. Knows JSON posts and their replies, with a length or in chunks; nothing else of HTTP.

>>> async with connected(Address("127.0.0.1", 8000)) as connection:
...     reply = await connection.send(post(Address("127.0.0.1", 8000), "/v1/completions", body))
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

_END_OF_HEAD = b"\r\n\r\n"
_CLOSES = b"\r\nconnection: close"
# The first event of a chat stream has empty content: it is no token yet.
_CONTENT = re.compile(rb'"(?:content|text)":\s?"[^"]')


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its reply; times in seconds since the request was sent.

    head: status line and headers as they came. first_token_s: when the first text of a reply had
    arrived; None when there was none.
    """

    status: int
    body: bytes
    first_token_s: float | None
    e2e_s: float
    head: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.decode("latin-1").partition(":")
            if key.lower() == name:
                return value.strip()
        return None


def post(address: Address, path: str, body: dict[str, Any]) -> bytes:
    """A whole request, ready to be sent any number of times."""
    content = orjson.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {address.host}:{address.port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator["Connection"]:
    """A connection, closed at the end.

    Raises:
        OSError: nothing listens there.
    """
    connection = await opened(address)
    try:
        yield connection
    finally:
        connection.close()


async def opened(address: Address) -> "Connection":
    """A connection that the caller closes.

    Raises:
        OSError: nothing listens there.
    """
    _, connection = await asyncio.get_running_loop().create_connection(Connection, *address)
    return connection


class Connection(asyncio.Protocol):
    """A kept connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Exchange] | None = None
        self._status: int | None = None
        self._length: int | None = None
        self._first_token_s: float | None = None
        self._begin(0.0)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def send(self, request: bytes) -> Exchange:
        """Sends one request and waits for its whole reply.

        Raises:
            ConnectionError: the server closed the connection before the reply was whole.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the server has closed the connection")
        self._waiting = asyncio.get_running_loop().create_future()
        self._begin(time.perf_counter())
        self._transport.write(request)
        return await self._waiting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            error = ConnectionError("the server closed the connection within a reply")
            self._waiting.set_exception(error)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if self._status is None and not self._read_head():
            return
        is_whole = self._read_chunks() if self._length is None else self._read_length()
        if self._first_token_s is None and _CONTENT.search(self._body):
            self._first_token_s = time.perf_counter() - self._sent_at_s
        if is_whole:
            self._finish()

    def _begin(self, now: float) -> None:
        self._sent_at_s = now
        self._unread = bytearray()
        self._body = bytearray()
        self._head = b""
        self._status = self._length = self._first_token_s = None

    def _read_head(self) -> bool:
        end = self._unread.find(_END_OF_HEAD)
        if end < 0:
            return False
        self._head = bytes(self._unread[:end])
        head = self._head.lower()
        del self._unread[: end + len(_END_OF_HEAD)]
        self._status = int(head[9:12])
        _, is_sized, rest = head.partition(b"\r\ncontent-length:")
        self._length = int(rest.split(b"\r\n", 1)[0]) if is_sized else None
        return True

    def _read_length(self) -> bool:
        self._body += self._unread
        self._unread.clear()
        return self._length is not None and len(self._body) >= self._length

    def _read_chunks(self) -> bool:
        """Moves whole chunks to the body; True once the last one, which is empty, has come."""
        while (end := self._unread.find(b"\r\n")) >= 0:
            size = int(self._unread[:end].split(b";")[0], 16)
            start = end + 2
            if len(self._unread) < start + size + 2:
                return False
            self._body += self._unread[start : start + size]
            del self._unread[: start + size + 2]
            if size == 0:
                return True
        return False

    def _finish(self) -> None:
        assert self._waiting is not None and self._status is not None
        e2e_s = time.perf_counter() - self._sent_at_s
        reply = Exchange(self._status, bytes(self._body), self._first_token_s, e2e_s, self._head)
        if _CLOSES in self._head.lower():
            # As HAProxy says before a reload; another request would be sent in vain.
            self.close()
        if not self._waiting.done():
            self._waiting.set_result(reply)
