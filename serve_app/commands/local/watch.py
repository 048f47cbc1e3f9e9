"""Watches an instance start: polls /readyz and says what changed."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from serve_app.commands.local.instance import Instance

POLL_S = 0.5
Say = Callable[[str], None]


class StartFailed(Exception):
    """The instance ended before it was ready, or took too long."""


def wait_until_ready(instance: Instance, log: Path, say: Say, patience_s: float) -> None:
    """Returns once /readyz answers 200; says when each tier becomes ready.

    Raises:
        StartFailed: when `patience_s` has passed, or the process ended, as it does when
            it cannot deploy.
    """
    deadline = time.monotonic() + patience_s
    said: Mapping[str, str] = {}
    while time.monotonic() < deadline:
        is_ready, tiers = ask(instance.address)
        for tier in tiers:
            if tiers[tier] != said.get(tier):
                say(f"{tier}: {tiers[tier]}")
        said = tiers or said
        if is_ready:
            return
        if not instance.is_alive:
            raise StartFailed(f"the serve process ended; see {log}")
        time.sleep(POLL_S)
    raise StartFailed(f"not ready after {patience_s:.0f} s; see {log}")


def ask(address: str) -> tuple[bool, Mapping[str, str]]:
    """Whether the instance is ready, and the state of each tier as far as it says."""
    try:
        response = httpx.get(f"{address}/readyz", timeout=5.0)
    except httpx.HTTPError:
        return False, {}
    if "application/json" not in response.headers.get("content-type", ""):
        return False, {}
    body = response.json()
    tiers = body.get("tiers", {}) if isinstance(body, dict) else {}
    return response.status_code == 200, tiers


def last_lines(log: Path, count: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
