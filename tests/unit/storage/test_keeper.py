"""State is saved when it changed and at the end, and no failure gets out."""

import asyncio
import itertools
import logging
import threading

import pytest

from serve_app.storage.keeper import Keeper
from serve_app.storage.types import StorageFailed


class InMemory:
    """A storage that fails as long as it is told to."""

    def __init__(self) -> None:
        self.saved: list[bytes] = []
        self.failure: Exception | None = None

    def load(self) -> bytes | None:
        return self.saved[-1] if self.saved else None

    def save(self, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.saved.append(data)


class Slow(InMemory):
    """Its first save waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_go_on = threading.Event(), threading.Event()

    def save(self, data: bytes) -> None:
        self.begun.set()
        assert self.may_go_on.wait(5)
        super().save(data)


async def test_only_changes_are_saved() -> None:
    storage, state = InMemory(), bytearray(b"one")
    keeper = Keeper(storage, lambda: bytes(state), every_s=60)
    await keeper.save()
    await keeper.save()
    state[:] = b"two"
    await keeper.close()
    await keeper.close()
    assert storage.saved == [b"one", b"two"]


async def test_it_saves_again_and_again_and_once_more_when_cancelled() -> None:
    # Given a state that changes with every snapshot
    storage, count, third = InMemory(), itertools.count(1), threading.Event()
    taken: list[bytes] = []

    def snapshot() -> bytes:
        if len(storage.saved) == 3:
            third.set()
        taken.append(b"%d" % next(count))
        return taken[-1]

    running = asyncio.create_task(Keeper(storage, snapshot, every_s=0.001).run())
    await asyncio.to_thread(third.wait, 5)
    # When it is cancelled
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    # Then the last snapshot is the last one saved
    assert len(storage.saved) > 3
    assert storage.saved[-1] == taken[-1]


async def test_a_cancellation_during_a_save_still_ends_with_the_newest_state() -> None:
    # Given a save that hangs
    storage, state = Slow(), bytearray(b"old")
    running = asyncio.create_task(Keeper(storage, lambda: bytes(state), every_s=0.001).run())
    await asyncio.to_thread(storage.begun.wait, 5)
    # When the state changes, the keeper is cancelled, and the save goes on
    state[:] = b"new"
    running.cancel()
    await asyncio.sleep(0.01)
    storage.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert storage.saved == [b"old", b"new"]


@pytest.mark.parametrize(
    "failure", [StorageFailed("/x", "written", "no space", "Make room."), RuntimeError("a bug")]
)
async def test_a_failing_save_is_said_once_and_tried_again(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    storage = InMemory()
    keeper = Keeper(storage, lambda: b"one", every_s=60)
    with caplog.at_level(logging.INFO):
        # When it fails twice, works, and fails again
        for storage.failure in (failure, failure, None, None):
            await keeper.save()
    # Then each outage is one warning, and the state is there
    assert storage.saved == [b"one"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_failing_snapshot_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    storage, answers = InMemory(), [b"one"]
    keeper = Keeper(storage, lambda: answers[0], every_s=60)
    answers.clear()
    await keeper.save()
    answers.append(b"two")
    await keeper.save()
    assert storage.saved == [b"two"]
    assert "IndexError" in caplog.text
