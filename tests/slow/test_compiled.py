"""The wheel whose routing and simulated engines are compiled: it decides as the sources do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
TRACE = REPOSITORY / "tests" / "data" / "azure_conv_2023_first_half.csv"


def ran(folder: Path, path: Path, *arguments: object) -> str:
    """What a Python module says that finds the packages in `path`, not in this repository."""
    environment = os.environ | {"PYTHONPATH": f"{path}{os.pathsep}{folder}"}
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout


def compiled(folder: Path) -> Path:
    """The packages as `make wheel` compiles them."""
    environment = os.environ | {"HATCH_BUILD_HOOKS_ENABLE": "1"}
    build = (UV, "build", "-q", "--python", sys.executable, "--out-dir", folder / "dist")
    subprocess.run(build, cwd=REPOSITORY, env=environment, check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    install = (UV, "pip", "install", "-q", "--no-deps", "--target", folder / "packages", wheel)
    subprocess.run(install, check=True)
    return folder / "packages"


def test_compiled_code_passes_its_tests_and_decides_as_the_sources_do(tmp_path: Path) -> None:
    # Given the compiled packages, and the tests of what is compiled
    packages, elsewhere = compiled(tmp_path), tmp_path / "elsewhere"
    assert list((packages / "serve_app" / "routing").glob("policy.*.so"))
    shutil.copytree(REPOSITORY / "tests", elsewhere / "tests")
    shutil.copy(REPOSITORY / "pyproject.toml", elsewhere)
    # Then they pass
    ran(elsewhere, packages, "pytest", "-q", "tests/unit/routing", "tests/unit/simulator")
    # And the same seed gives the same attainment, to the last bit
    run = ("serve_app.simulator.validation.speed", TRACE, "ours", 5000)
    attainments = {
        ran(elsewhere, path, *run).rpartition("attainment ")[2] for path in (packages, REPOSITORY)
    }
    assert len(attainments) == 1
