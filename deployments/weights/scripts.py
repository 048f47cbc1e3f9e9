"""Runs a script that makes weights: by path, in processes that do not outlive this one."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_GUARD = Path(__file__).with_name("guard.py")
_LINES_SHOWN = 20
Report = Callable[[str], None]


class ScriptFailed(RuntimeError):
    """A script ended with an error; the message holds the last lines it printed."""


def run_script(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    hear: Callable[[str], None] | None = None,
) -> None:
    """Runs `command` to its end, with `environment` on top of ours.

    Args:
        hear: told each line that it prints, and each state of a progress bar, as they come.

    Raises:
        ScriptFailed: when it ends with an error.
    """
    with subprocess.Popen(
        [sys.executable, "-I", _GUARD, str(os.getpid()), *command],
        env=os.environ | environment,
        process_group=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            last_lines = deque(_lines(process, hear), maxlen=_LINES_SHOWN)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        name = " ".join(str(part) for part in command)
        shown = "\n".join(last_lines)
        raise ScriptFailed(f"`{name}` ended with status {process.returncode}:\n{shown}")


def _lines(process: "subprocess.Popen[str]", hear: Callable[[str], None] | None) -> Iterator[str]:
    """What it prints; universal newlines make each redrawing of a bar a line of its own."""
    assert process.stdout is not None
    for line in process.stdout:
        text = line.rstrip()
        if hear is not None:
            hear(text)
        yield text
