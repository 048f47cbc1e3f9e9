"""A script: runs a command, and ends it and all that it started when the caller dies or asks to.

Run as `python deployments/weights/guard.py CALLER_PID COMMAND...`, as the leader of a process
group of its own. An engine or an installer has processes of its own, which outlive it when only it
is killed. Exit status: the command's.
"""

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def main(caller_pid: int, command: list[str]) -> int:
    # This one included; so nothing has to be remembered, and nothing slips through.
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    # The kernel sends it when the caller dies, even by `kill -9`.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != caller_pid:
        return 1
    status = subprocess.run(command).returncode
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
