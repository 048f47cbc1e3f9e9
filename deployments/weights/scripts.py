"""Runs a script that makes weights: by path, in a process that does not outlive this one."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# The kernel ends the script when we die, even by `kill -9`: nobody is left to use its result.
# Set before the script's own program starts; it stays set across exec. PR_SET_PDEATHSIG is 1.
DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class ScriptFailed(RuntimeError):
    """A script ended with an error; the message holds the last lines it printed."""


def run_script(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Runs `command` to its end, with `environment` on top of ours.

    Raises:
        ScriptFailed: when it ends with an error.
    """
    result = subprocess.run(
        [sys.executable, "-c", DIE_WITH_PARENT, *command],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if result.returncode != 0:
        last_lines = "\n".join(result.stdout.splitlines()[-20:])
        name = " ".join(str(part) for part in command)
        raise ScriptFailed(f"`{name}` ended with status {result.returncode}:\n{last_lines}")
