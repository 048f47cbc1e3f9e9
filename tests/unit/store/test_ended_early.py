"""What is under way ends soon when something fails, or when somebody presses Ctrl-C."""

from pathlib import Path
from threading import Event

import pytest

from deployments.store.hashing import make_manifest
from deployments.store.manifest import Piece
from deployments.store.transfer.parallel import Parallel
from tests.unit.store.builders import PIECE_BYTES, a_model

PATIENCE_S = 10.0


def a_piece(name: str) -> Piece:
    return Piece(name, 0, 1, "0" * 64)


def test_an_interrupted_caller_cancels_what_is_under_way() -> None:
    # Given a transfer that would go on for ever
    cancelled, ended = Event(), Event()

    def transfer(piece: Piece) -> None:
        cancelled.wait(PATIENCE_S)
        ended.set()

    # When whoever waits for it is interrupted
    with pytest.raises(KeyboardInterrupt), Parallel(transfer, cancelled.set) as running:
        running.begin(a_piece("a"))
        raise KeyboardInterrupt
    # Then it was cancelled, and is over
    assert cancelled.is_set()
    assert ended.is_set()


def test_a_failure_cancels_the_others_and_begins_no_more() -> None:
    cancelled, begun = Event(), list[str]()

    def transfer(piece: Piece) -> None:
        begun.append(piece.file)
        if piece.file == "bad":
            raise OSError("the disk is full")
        cancelled.wait(PATIENCE_S)

    with (
        pytest.raises(OSError, match="the disk is full"),
        Parallel(transfer, cancelled.set) as running,
    ):
        running.begin(a_piece("good"))
        running.begin(a_piece("bad"))
        assert cancelled.wait(PATIENCE_S)
        running.begin(a_piece("late"))

    assert sorted(begun) == ["bad", "good"]


def test_a_failure_ends_the_reading_of_other_files_in_the_middle(tmp_path: Path) -> None:
    # Given two files that are read at once, and a failure at the first while the second is read
    names = ("a", "b")
    model = a_model(tmp_path / "model", **dict.fromkeys(names, 100 * PIECE_BYTES))
    other_is_read, has_failed, told_more = Event(), Event(), Event()

    def told(piece: Piece) -> None:
        if piece.file == "a":
            other_is_read.wait(PATIENCE_S)
            raise OSError("the disk is full")
        if piece.file == "b":
            if other_is_read.is_set():
                told_more.set()
            other_is_read.set()
            has_failed.wait(PATIENCE_S)

    # When it is known, then nobody waits for the second, and no more is told of it
    with pytest.raises(OSError, match="the disk is full"):
        make_manifest(model, PIECE_BYTES, told)
    has_failed.set()
    assert not told_more.wait(0.2)
