"""Who is woken in the waiting room."""

import asyncio

import pytest

from serve_app.dispatch.deciding.waiting_room import WaitingRoom


async def test_a_waiter_who_leaves_just_as_he_is_woken_passes_it_on() -> None:
    # Given two who wait
    room = WaitingRoom(10)
    first, second = [
        asyncio.create_task(room.wait(deadline_s, patience_s=60.0)) for deadline_s in (1.0, 2.0)
    ]
    await asyncio.sleep(0)
    # When a place is free, and the first one's caller leaves before he could take it
    room.wake()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    # Then the second one looks whether it is for him
    await asyncio.wait_for(second, timeout=5)
    assert room.num_waiting == 0
