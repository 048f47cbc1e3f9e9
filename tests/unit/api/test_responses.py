"""What becomes of a response that is being sent."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from serve_app.api.responses import EventStreamResponse


async def test_a_stream_ends_its_visit_even_when_it_is_cancelled_while_it_is_closed() -> None:
    # Given a reader too slow for its stream, which takes a while to close
    closing = asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            yield b"data: 1\n\n"
        finally:
            closing.set()
            await asyncio.Event().wait()

    num_ended = 0

    async def ended() -> None:
        nonlocal num_ended
        num_ended += 1

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    response = EventStreamResponse(events(), {}, ended)
    sending = asyncio.create_task(response({}, asyncio.Event().wait, send))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    # When its deadline cancels it, and then its caller leaves as well
    sending.cancel()
    await closing.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    # Then what its key holds is given back, once
    assert num_ended == 1
