"""The load tool against a server of a few lines."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from serve_app.bench.client import Address, post
from serve_app.bench.traffic.open_loop import Target, offer
from serve_app.bench.traffic.records import Record
from serve_app.bench.traffic.workload import Asked
from tests.unit.bench.traffic.builders import an_asked

USAGE = b'{"model": "small", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}'


def a_reply(status: str = "200 OK", body: bytes = USAGE, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def a_server(answer: Callable[[], Awaitable[bytes]]) -> AsyncIterator[Address]:
    """Answers each request with what `answer` gives; nothing closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))
                reply = await answer()
                if not reply:
                    break
                writer.write(reply)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])


def offered(
    answer: Callable[[], Awaitable[bytes]], requests: Sequence[Asked], give_up_s: float = 10.0
) -> list[Record]:
    async def run() -> list[Record]:
        records: list[Record] = []
        async with a_server(answer) as address:
            target = Target(address, lambda _: post(address, "/", {}), give_up_s)
            await offer(target, requests, records.append)
        return sorted(records, key=lambda record: record.index)

    return asyncio.run(run())


def test_nobody_waits_for_another() -> None:
    # Given a server that answers nobody until three requests are there
    arrived = asyncio.Semaphore(0)
    everyone = asyncio.Event()

    async def answer() -> bytes:
        arrived.release()
        if arrived._value == 3:
            everyone.set()
        await everyone.wait()
        return a_reply()

    # When three requests are due
    records = offered(answer, [an_asked(index=i, at_s=0.01 * i) for i in range(3)])
    # Then all are answered: none was held back for the one before
    assert [record.status for record in records] == [200, 200, 200]


def test_a_record_says_who_answered_and_how_many_tokens() -> None:
    async def answer() -> bytes:
        return a_reply()

    (record,) = offered(answer, [an_asked()])
    assert (record.model, record.prompt_tokens, record.output_tokens) == ("small", 7, 3)
    assert record.is_in_time and record.e2e_s >= record.ended_s - record.sent_s


def test_litellm_says_in_a_header_which_deployment_answered() -> None:
    async def answer() -> bytes:
        return a_reply(extra="X-LiteLLM-Model-Id: large\r\n")

    (record,) = offered(answer, [an_asked()])
    assert record.model == "large"


def test_a_refusal_and_a_lost_connection_are_recorded_and_end_nothing() -> None:
    replies = iter([a_reply("429 Too Many Requests"), b"", a_reply("503 Unavailable"), a_reply()])

    async def answer() -> bytes:
        return next(replies)

    records = offered(answer, [an_asked(index=i, at_s=0.05 * i) for i in range(4)])
    assert [record.status for record in records] == [429, None, 503, 200]
    assert [record.is_failure for record in records] == [False, True, True, False]


def test_a_caller_who_gave_up_has_no_answer() -> None:
    async def answer() -> bytes:
        await asyncio.sleep(0.3)
        return a_reply()

    (record,) = offered(answer, [an_asked()], give_up_s=0.05)
    assert record.status is None and not record.is_in_time


def test_nobody_listening_is_recorded_too() -> None:
    async def run() -> list[Record]:
        records: list[Record] = []
        nowhere = Address("127.0.0.1", 1)
        target = Target(nowhere, lambda _: post(nowhere, "/", {}))
        await offer(target, [an_asked()], records.append)
        return records

    assert asyncio.run(run())[0].is_failure
