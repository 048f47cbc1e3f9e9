"""Real processes: a script that starts another one, as vLLM does."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deployments.weights.scripts import ScriptFailed, run_script

_PATIENCE_S = 60.0
# Says which process it started, and waits for it for ever.
STARTS_ANOTHER = """
import subprocess, sys
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
print(other.pid, flush=True)
other.wait()
"""
CALLER = f"""
import sys
from deployments.weights.scripts import run_script
run_script([sys.executable, "-c", {STARTS_ANOTHER!r}], {{}}, lambda line: print(line, flush=True))
"""
REPOSITORY = Path(__file__).parents[4]


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_what_a_script_started_ends_with_the_caller(how: str) -> None:
    # Given a caller whose script has started another process
    with subprocess.Popen(
        [sys.executable, "-c", CALLER], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdout is not None
        other = psutil.Process(int(caller.stdout.readline()))
        # When the caller is killed, then it is gone as well
        getattr(caller, how)()
        other.wait(_PATIENCE_S)


def test_what_a_script_started_ends_when_the_caller_gives_up() -> None:
    # Given a caller who is interrupted by what it hears
    heard: list[psutil.Process] = []

    def give_up(line: str) -> None:
        heard.append(psutil.Process(int(line)))
        raise KeyboardInterrupt

    # When
    with pytest.raises(KeyboardInterrupt):
        run_script([sys.executable, "-c", STARTS_ANOTHER], {}, give_up)

    # Then
    (other,) = heard
    other.wait(_PATIENCE_S)


def test_a_script_that_fails_says_its_last_words() -> None:
    script = "print('what is wrong'); raise SystemExit(3)"

    with pytest.raises(ScriptFailed, match=r"ended with status 3:\nwhat is wrong"):
        run_script([sys.executable, "-c", script], {})
