"""A file that is whole at every moment."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve_app.storage.local import LocalStorage
from serve_app.storage.types import MAX_BYTES, StorageFailed

_WRITER = """
import itertools, pathlib, sys
from serve_app.storage.local import LocalStorage
storage = LocalStorage(pathlib.Path(sys.argv[1]))
for letter in itertools.cycle((b"a", b"b")):
    storage.save(letter * 2_000_000)
    print(letter, flush=True)
"""


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "new" / "folder" / "state")
    assert storage.load() is None
    storage.save(b"one")
    storage.save(b"two")
    assert storage.load() == b"two"
    assert LocalStorage(tmp_path / "new" / "folder" / "state").load() == b"two"


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    LocalStorage(tmp_path / "state").save(b"one")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_kill_in_the_middle_of_a_save_leaves_a_whole_file(tmp_path: Path, saves: int) -> None:
    # Given a process that saves one after the other, without a pause
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "state")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(saves):
            writer.stdout.readline()
        # When it is killed
        os.kill(writer.pid, signal.SIGKILL)
    # Then one of the two contents is there, and no mixture
    data = LocalStorage(tmp_path / "state").load()
    assert data in (b"a" * 2_000_000, b"b" * 2_000_000)


def test_a_failed_save_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(StorageFailed, match="could not be written: Is a directory"):
        LocalStorage(tmp_path / "folder").save(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_place_that_cannot_be_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage = LocalStorage(tmp_path / "file" / "state")
    with pytest.raises(StorageFailed, match=r"/file/state could not be read: Not a directory\. "):
        storage.load()
    with pytest.raises(StorageFailed, match=r"could not be written: .*\. Name a file"):
        storage.save(b"")


def test_more_than_64_mib_is_neither_read_nor_written(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "state")
    with (tmp_path / "state").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(StorageFailed, match="the limit is 67,108,864"):
        storage.load()
    with pytest.raises(StorageFailed, match="could not be written"):
        storage.save(bytes(MAX_BYTES + 1))


def test_changes_of_several_at_once_are_all_kept(tmp_path: Path) -> None:
    # Given eight who each add twenty lines, each with a storage of its own
    def add(who: int) -> None:
        for number in range(20):
            line = f"{who}.{number}\n".encode()
            LocalStorage(tmp_path / "lines").change(lambda data, line=line: (data or b"") + line)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    # Then no line is lost
    data = LocalStorage(tmp_path / "lines").load()
    assert data is not None and len(set(data.split())) == 160
