"""Environments of other programs: pinned, made on first use, kept under TANDEM_HOME/envs.

In: a name and a file of pins. Out: the Python that has them. Quantizers and the peers of benchmarks
need releases that do not agree with ours.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from deployments.weights.keep import locked
from deployments.weights.scripts import run_script

_IN_WHEEL = Path(__file__).parents[1] / "requirements"
REQUIREMENTS = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parents[2] / "requirements"


def pinned_environment(
    home: Path, name: str, pins: Path, variables: Mapping[str, str] | None = None
) -> Path:
    """The Python of the environment `name`, which holds exactly `pins`; later calls cost nothing.

    Safe to call twice at once, and again after any interruption.

    Args:
        home: TANDEM_HOME. variables: of the environment, for the installer only.

    Raises:
        ScriptFailed: when the installation fails. ValueError: when there is no `uv`.
    """
    environment = home / "envs" / name
    python, installed = environment / "bin" / "python", environment / "installed.txt"
    with locked(environment):
        if installed.is_file() and installed.read_bytes() == pins.read_bytes():
            return python
        installed.unlink(missing_ok=True)
        uv = installer()
        run_script([uv, "venv", "--clear", "--python", sys.executable, environment], {})
        told = {"UV": str(uv), **(variables or {})}
        run_script(["/bin/sh", REQUIREMENTS / "sync.sh", python, pins], told)
        # Last: an interrupted installation is made anew.
        shutil.copyfile(pins, installed)
    return python


def pins_of(name: str) -> Path:
    """The pins `NAME.txt`, or `NAME-gpu.txt` on a machine with an NVIDIA driver."""
    return REQUIREMENTS / (f"{name}-gpu.txt" if has_gpu() else f"{name}.txt")


def pinned_release(pins: Path, package: str) -> str:
    """The release of a package that pins name.

    >>> pinned_release(REQUIREMENTS / "awscli.txt", "awscli")
    '1.46.3'
    """
    entries = (line.split() for line in pins.read_text().splitlines())
    names = (entry[0].partition("==") for entry in entries if entry)
    return next(release for name, _, release in names if name == package)


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA driver."""
    return shutil.which("nvidia-smi") is not None


def installer() -> Path:
    """The `uv` beside this Python, or the one on the PATH.

    Raises:
        ValueError: when there is none.
    """
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return beside
    found = shutil.which("uv")
    if found is None:
        raise ValueError("an environment of its own needs `uv`: `make venv`, or `pip install uv`")
    return Path(found)
