"""`aws s3 sync`: what the model store is compared with. In an environment of its own."""

from collections.abc import Sequence
from pathlib import Path

from deployments.weights.environments import (
    REQUIREMENTS,
    pinned_environment,
    pinned_release,
)

PINS = REQUIREMENTS / "awscli.txt"
_TUNED = """[default]
s3 =
  max_concurrent_requests = 20
  multipart_threshold = 32MB
  multipart_chunksize = 32MB
"""


def version() -> str:
    """The release that the pins name."""
    return pinned_release(PINS, "awscli")


def sync(home: Path) -> Sequence[str]:
    """The command without its two places; the client is installed on first use.

    Raises:
        ScriptFailed: when the installation fails. ValueError: when there is no `uv`.
    """
    python = pinned_environment(home, "awscli", PINS, {"UV_COMPILE_BYTECODE": "1"})
    return (str(python.with_name("aws")), "s3", "sync", "--only-show-errors")


def tuned_settings(folder: Path) -> dict[str, str]:
    """Variables that give it the store's number of requests, and the size of parts it fetches."""
    config = folder / "aws-tuned.ini"
    config.write_text(_TUNED)
    return {"AWS_CONFIG_FILE": str(config)}
