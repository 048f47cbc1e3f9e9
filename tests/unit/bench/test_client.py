"""The load tool against a server of a few lines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from serve_app.bench.client import Address, connected, post
from serve_app.bench.load import LoadFailed, closed_loop, one_by_one, together

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'


@asynccontextmanager
async def a_server(
    *pieces: bytes, pause_s: float = 0.0
) -> AsyncIterator[tuple[Address, list[bytes]]]:
    """Answers every request with the pieces; gives its address and the bodies that it read."""
    bodies: list[bytes] = []
    answering: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.current_task())
        while head := await read_head(reader):
            length = int(head.rpartition(b"content-length: ")[2])
            bodies.append(await reader.readexactly(length))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1]), bodies
        await asyncio.gather(*filter(None, answering))


async def read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def chunks(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in [*events, b""])


def a_request(address: Address) -> bytes:
    return post(address, "/v1/chat/completions", {"model": "auto"})


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with a_server(SIZED) as (address, bodies), connected(address) as connection:
        replies = [await connection.send(a_request(address)) for _ in range(3)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"hi")] * 3
    assert bodies == [b'{"model":"auto"}'] * 3


async def test_a_connection_that_the_server_will_close_is_not_used_again() -> None:
    last = SIZED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with a_server(last) as (address, bodies), connected(address) as connection:
        assert (await connection.send(a_request(address))).body == b"hi"
        assert not connection.is_open
        with pytest.raises(ConnectionError, match="has closed"):
            await connection.send(a_request(address))
    assert len(bodies) == 1


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_a_reply_is_whole_however_it_is_cut(size: int) -> None:
    wire = CHUNKED_HEAD + chunks(ROLE, WORD)
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    async with a_server(*pieces) as (address, _):
        [reply] = await one_by_one(address, [a_request(address)])
    assert reply.body == ROLE + WORD


async def test_the_first_token_is_the_first_text_and_not_the_role() -> None:
    wire = chunks(ROLE, WORD)
    role_ends = wire.index(WORD) - 10
    parts = (CHUNKED_HEAD + wire[:role_ends], wire[role_ends:])
    async with a_server(*parts, pause_s=0.05) as (address, _):
        [reply] = await one_by_one(address, [a_request(address)])
    assert reply.first_token_s is not None and reply.first_token_s >= 0.05


async def test_a_reply_without_text_has_no_first_token() -> None:
    async with a_server(CHUNKED_HEAD + chunks(ROLE)) as (address, _):
        [reply] = await one_by_one(address, [a_request(address)])
    assert reply.first_token_s is None


async def test_a_refusal_ends_the_load_with_the_servers_words() -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nbusy"
    async with a_server(refusal) as (address, _):
        with pytest.raises(LoadFailed, match="429: busy"):
            await one_by_one(address, [a_request(address)])


async def test_a_connection_that_breaks_within_a_reply_is_an_error() -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(SIZED[:-1])
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    async with server:
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(ConnectionError, match="within a reply"):
            await one_by_one(address, [a_request(address)])


async def test_requests_sent_together_are_all_answered() -> None:
    async with a_server(SIZED) as (address, bodies):
        burst = await together(address, [a_request(address)] * 5)
    assert len(burst.replies) == len(bodies) == 5


async def test_a_closed_loop_counts_what_was_answered_in_time() -> None:
    async with a_server(SIZED) as (address, bodies):
        latencies = await closed_loop(address, a_request(address), connections=4, duration_s=0.05)
    # Each caller's last reply came too late and is not counted.
    assert len(latencies) == len(bodies) - 4
