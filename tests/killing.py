"""`tandem store` as a process of its own, for tests that kill it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_PATIENCE_S = 300.0


def tandem_store(*arguments: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("tandem")), "store", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill_when(process: subprocess.Popen[bytes], is_time: Callable[[], bool]) -> None:
    """`kill -9` as soon as the condition holds; the process must still be at work then."""
    send_when(process, signal.SIGKILL, is_time)
    assert process.wait() == -signal.SIGKILL
    process.communicate()


def send_when(
    process: subprocess.Popen[bytes], number: signal.Signals, is_time: Callable[[], bool]
) -> None:
    """Sends a signal as soon as the condition holds; the process must still be at work then."""
    give_up = time.monotonic() + _PATIENCE_S
    while not is_time():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(number)


def finish(process: subprocess.Popen[bytes]) -> None:
    output, _ = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, output


def num_pulled(root: Path) -> int:
    """Pieces that unfinished pulls into this folder have on the disk."""
    return sum(path.read_text().count("\n") for path in root.glob("*.part/.finished-pieces"))
