"""Files of bounded size and number, whatever the disk and other replicas do."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pytest

from serve_app.storage.line_files import LineFiles, files, lines, lines_backwards

LINE = b"0123456789\n"


def some_files(folder: Path, **changes: int | str) -> LineFiles:
    defaults = {"replica": "r1", "max_bytes": 3 * len(LINE), "max_files": 2}
    return LineFiles(folder, **(defaults | changes))  # type: ignore[arg-type]


def write_all(writer: LineFiles, every: list[bytes]) -> None:
    while every:
        every = every[writer.write(every) :]


def test_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    # Given room for 2 files of 3 lines
    writer = some_files(tmp_path / "new" / "folder")
    # When ten lines are written
    write_all(writer, [b"%010d\n" % i for i in range(10)])
    writer.close()
    # Then the last files are there, the last one begun
    kept = files(tmp_path / "new" / "folder")["r1"]
    assert [path.name for path in kept] == ["r1-00000003.jsonl", "r1-00000004.jsonl"]
    assert [list(lines(path))[-1] for path in kept] == [b"0000000008\n", b"0000000009\n"]


def test_a_line_that_is_larger_than_a_file_gets_one_of_its_own(tmp_path: Path) -> None:
    writer = some_files(tmp_path)
    write_all(writer, [LINE, LINE * 5, LINE])
    writer.close()
    assert [path.stat().st_size for path in files(tmp_path)["r1"]] == [5 * 11, 11]


def test_a_new_start_leaves_a_torn_line_alone(tmp_path: Path) -> None:
    (tmp_path / "r1-00000007.jsonl").write_bytes(LINE + b"0123")
    writer = some_files(tmp_path)
    writer.write([LINE])
    writer.close()
    assert [list(lines(path)) for path in files(tmp_path)["r1"]] == [[LINE, b"0123"], [LINE]]


def test_lines_go_on_after_someone_deletes_the_file(tmp_path: Path) -> None:
    writer = some_files(tmp_path)
    writer.write([LINE, LINE])
    files(tmp_path)["r1"][0].unlink()
    writer.write([LINE])
    writer.close()
    assert [list(lines(path)) for path in files(tmp_path)["r1"]] == [[LINE]]


def test_half_a_write_is_cut_off_before_the_next_one(tmp_path: Path) -> None:
    # Given a disk that has room for one line and a half
    writer = some_files(tmp_path, max_bytes=1000)
    # When a write fails and is tried again once there is space
    with files_no_larger_than(len(LINE) + 5):
        writer.write([LINE])
        with pytest.raises(OSError, match="File too large"):
            writer.write([LINE, LINE])
    writer.write([LINE, LINE])
    writer.close()
    # Then every line is there once, in one file
    assert [list(lines(path)) for path in files(tmp_path)["r1"]] == [[LINE] * 3]


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    """The kernel's own limit: a write takes what fits and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_deletes_nothing(tmp_path: Path) -> None:
    # Given a replica with its two files, and a folder that becomes unusable
    folder = tmp_path / "log"
    writer = some_files(folder)
    write_all(writer, [LINE] * 6)
    folder.rename(tmp_path / "away")
    folder.write_bytes(b"a file where the folder was")
    # When many writes fail
    for _ in range(5):
        with pytest.raises(OSError):
            writer.write([LINE])
    # Then both files are as they were, and writing goes on once the folder is back
    folder.unlink()
    (tmp_path / "away").rename(folder)
    writer.write([LINE])
    writer.close()
    kept = files(folder)["r1"]
    assert list(chain.from_iterable(map(lines, kept))) == [LINE] * 4


def test_files_of_replicas_that_are_gone_are_bounded_too(tmp_path: Path) -> None:
    # Given five replicas that ended hours ago and one that runs
    for i in range(5):
        old = tmp_path / f"gone{i}-00000001.jsonl"
        old.write_bytes(LINE)
        os.utime(old, (1_700_000_000 + i, 1_700_000_000 + i))
    (tmp_path / "alive-00000001.jsonl").write_bytes(LINE)
    # When another replica begins its first file
    writer = some_files(tmp_path)
    writer.write([LINE])
    writer.close()
    # Then the last two of the dead are left
    assert set(files(tmp_path)) == {"alive", "r1", "gone3", "gone4"}


def test_other_files_in_the_folder_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "old.jsonl").write_text("mine")
    assert files(tmp_path) == {}
    assert files(tmp_path / "notes.txt") == {}
    assert files(tmp_path / "missing") == {}


@pytest.mark.parametrize("replica", ["", "a/b", "Router#x", "a b"])
def test_a_replica_id_that_is_no_file_name_is_refused(tmp_path: Path, replica: str) -> None:
    with pytest.raises(ValueError, match="replica id"):
        some_files(tmp_path, replica=replica)


def test_lines_backwards_are_the_lines_reversed(tmp_path: Path) -> None:
    # Given lines longer and shorter than the blocks that are read
    path = tmp_path / "x"
    path.write_bytes(b"\n".join(b"%d" % i * (i * 977 % 90_000) for i in range(1, 40)))
    forward = [line.rstrip(b"\n") for line in lines(path)]
    assert list(lines_backwards(path)) == forward[::-1]


def test_a_file_that_was_rotated_away_has_no_lines(tmp_path: Path) -> None:
    assert list(lines(tmp_path / "gone")) == []
    assert list(lines_backwards(tmp_path / "gone")) == []
