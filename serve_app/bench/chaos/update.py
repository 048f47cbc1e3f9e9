"""A script: deploys a Serve file into the Ray cluster whose address is in RAY_ADDRESS.

What `serve deploy` does, without the dashboard that it needs. Ends when the new version runs, or
with status 1 when it was refused.

>>> await deploy(instance.processes(), {"applications": [...]}, folder)
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

_GCS = "--gcs-address="


class UpdateRefused(RuntimeError):
    """The file was not deployed; the message has the reason."""


async def deploy(
    processes: Sequence[psutil.Process], content: dict[str, Any], folder: Path
) -> None:
    """Deploys the Serve file's content into the cluster that these processes are.

    Raises:
        UpdateRefused: it was refused.
    """
    file = folder / "update.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    raylet = next(p for p in processes if p.name() == "raylet")
    gcs = next(part for part in raylet.cmdline() if part.startswith(_GCS)).removeprefix(_GCS)
    environment = os.environ | raylet.environ() | {"RAY_ADDRESS": gcs}
    script = await asyncio.create_subprocess_exec(
        sys.executable, "-P", __file__, str(file), env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await script.communicate()
    if script.returncode != 0:
        raise UpdateRefused(said.decode(errors="replace")[-2000:])


def main(serve_file: str) -> None:
    """
    Raises:
        SystemExit: the file was refused; the message has the reason.
    """
    # Imported here: whoever deploys by `deploy` needs no Ray in his own process.
    import ray
    from ray.serve.scripts import cli

    from serve_app.serve_run import wait_until_deployed

    ray.init(namespace="serve")
    cli(["run", "--non-blocking", serve_file], standalone_mode=False)
    wait_until_deployed()


if __name__ == "__main__":
    main(sys.argv[1])
