"""Writing behind the caller's back: what is kept, what is dropped, what is said of it."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.storage.journal import Journal
from serve_app.storage.line_files import LineFiles, files, lines

NEVER_S = 3600.0


def a_journal(folder: Path, *, max_waiting: int = 100, flush_every_s: float = NEVER_S) -> Journal:
    written = LineFiles(folder, replica="r1", max_bytes=10_000, max_files=3)
    return Journal(written, "The log", max_waiting=max_waiting, flush_every_s=flush_every_s)


def on_disk(folder: Path) -> list[bytes]:
    return [line for path in files(folder).get("r1", []) for line in lines(path)]


def wait_until(is_true: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + 5
    while not is_true():
        assert time.monotonic() < ends_s, "waited 5 s"
        time.sleep(0.002)


def test_close_writes_what_is_waiting(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    for i in range(3):
        journal.append({"i": i})
    assert on_disk(tmp_path) == []
    journal.close()
    journal.close()
    assert on_disk(tmp_path) == [b'{"i":0}\n', b'{"i":1}\n', b'{"i":2}\n']
    assert journal.num_dropped == 0


def test_lines_are_flushed_while_it_is_open(tmp_path: Path) -> None:
    journal = a_journal(tmp_path, flush_every_s=0.01)
    journal.append({"i": 0})
    wait_until(lambda: on_disk(tmp_path) == [b'{"i":0}\n'])
    journal.close()


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    journal = a_journal(tmp_path, max_waiting=2)
    for i in range(5):
        journal.append({"i": i})
    assert journal.num_dropped == 3
    journal.close()
    assert on_disk(tmp_path) == [b'{"i":0}\n', b'{"i":1}\n']


def test_a_line_after_the_end_is_dropped(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.close()
    journal.append({"i": 0})
    assert (journal.num_dropped, on_disk(tmp_path)) == (1, [])


def test_what_is_no_json_is_dropped_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = a_journal(tmp_path)
    journal.append({"i": object()})
    journal.append({"i": float("nan")})
    journal.close()
    assert (journal.num_dropped, on_disk(tmp_path)) == (1, [b'{"i":null}\n'])
    assert "The log: a line was left out" in caplog.text


def test_an_unwritable_folder_is_said_once_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a folder that cannot be made, because a file is in its place
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with caplog.at_level(logging.INFO):
        journal = a_journal(blocked / "log", max_waiting=2, flush_every_s=0.005)

        def said(text: str) -> int:
            return sum(text in message for message in caplog.messages)

        # When lines come, one more than fits in memory, and it stays so for many tries
        for i in range(3):
            journal.append({"i": i})
        wait_until(lambda: said("cannot be written") == 1)
        time.sleep(0.05)
        # Then one warning is enough; and once the folder can be made, what fitted is there
        assert said("cannot be written") == 1
        blocked.unlink()
        wait_until(lambda: said("is written again") == 1)
        journal.close()
    assert on_disk(blocked / "log") == [b'{"i":0}\n', b'{"i":1}\n']
    assert journal.num_dropped == 1


def test_a_folder_that_never_works_ends_with_everything_counted(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file")
    journal = a_journal(tmp_path / "blocked" / "log")
    journal.append({"i": 0})
    journal.close()
    assert journal.num_dropped == 1
