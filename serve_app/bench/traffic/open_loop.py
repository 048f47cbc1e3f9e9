"""Sends each request when it is due, whatever became of those before. Requests in, Records out."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from serve_app.bench.client import Address, Connection, Exchange, opened
from serve_app.bench.traffic.records import Record
from serve_app.bench.traffic.workload import Asked

# Shorter than any server's own, so that no request meets a connection that is just being closed.
_KEPT_S = 2.0
# Where LiteLLM says which deployment answered; its body repeats what was asked for.
_MODEL_HEADER = "x-litellm-model-id"


@dataclass(slots=True)
class Target:
    """A server, and how it is asked; keeps its connections while they are young.

    request: the bytes of a request. give_up_s: a caller's patience, from when it was due.
    """

    address: Address
    request: Callable[[Asked], bytes]
    give_up_s: float = 120.0
    _idle: list[tuple[float, Connection]] = field(default_factory=list)

    async def ask(self, asked: Asked, began_s: float) -> Record:
        """One request and what became of it; a refusal or a lost connection is a Record too.

        Args:
            began_s: the start of the run on `time.perf_counter`.
        """
        sent_s = time.perf_counter() - began_s
        reply: Exchange | None = None
        try:
            async with (
                asyncio.timeout(max(0.0, asked.at_s + self.give_up_s - sent_s)),
                self._connection() as connection,
            ):
                reply = await connection.send(self.request(asked))
        except (OSError, TimeoutError):
            reply = None
        return recorded(asked, sent_s, time.perf_counter() - began_s, reply)

    def close(self) -> None:
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A kept one or a new one; kept again only when its reply came whole."""
        connection = self._young() or await opened(self.address)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append((time.perf_counter(), connection))

    def _young(self) -> Connection | None:
        while self._idle:
            since_s, connection = self._idle.pop()
            if time.perf_counter() - since_s < _KEPT_S and connection.is_open:
                return connection
            connection.close()
        return None


async def offer(target: Target, requests: Iterable[Asked], keep: Callable[[Record], None]) -> None:
    """Sends every request at its time and hands each Record over as it ends; waits for all."""
    began_s = time.perf_counter()

    async def one(asked: Asked) -> None:
        keep(await target.ask(asked, began_s))

    try:
        async with asyncio.TaskGroup() as group:
            for asked in requests:
                await asyncio.sleep(max(0.0, asked.at_s - (time.perf_counter() - began_s)))
                group.create_task(one(asked))
    finally:
        target.close()


def recorded(asked: Asked, sent_s: float, ended_s: float, reply: Exchange | None) -> Record:
    """The Record of a reply; None for none."""
    status = None if reply is None else reply.status
    times = (asked.index, asked.at_s, sent_s, ended_s, asked.slo_s, status)
    if reply is None or reply.status != 200:
        return Record(*times)
    return Record(*times, *_told(reply))


def _told(reply: Exchange) -> tuple[str | None, int, int]:
    """Model, prompt tokens and output tokens of an unstreamed reply, as far as it tells them."""
    try:
        content = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None, 0, 0
    usage = content.get("usage") or {}
    model = reply.header(_MODEL_HEADER) or content.get("model")
    return model, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
