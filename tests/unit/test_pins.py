"""The pinned requirements: exact versions, each download known by its hash."""

import re
from pathlib import Path

import pytest

from deployments.weights.environments import pinned_release

PINS = sorted(path for path in Path("requirements").glob("*.txt") if "overrides" not in path.name)


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_every_pin_has_a_hash_but_the_cpu_build_of_torch(path: Path) -> None:
    entries = path.read_text().replace("\\\n", " ").splitlines()
    assert entries and all("==" in entry for entry in entries)
    without = [entry for entry in entries if "--hash=sha256:" not in entry]
    assert [entry for entry in without if not entry.startswith("torch==")] == []
    assert all(entry.endswith("+cpu") for entry in without)


@pytest.mark.parametrize("package", ["awscli", "litellm"])
def test_a_release_is_read_without_its_hashes(package: str) -> None:
    release = pinned_release(Path(f"requirements/{package}.txt"), package)
    assert re.fullmatch(r"\d+(\.\d+)+", release)
