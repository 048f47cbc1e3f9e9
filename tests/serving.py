"""Starts a real Ray Serve application for a test, as `tandem up` does, and ends all of it."""

import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from serve_app.commands.local.environment import socket_folder
from serve_app.commands.local.instance import SERVE_RUN, Instance, log_file, start


@contextmanager
def serving(application_args: dict[str, Any], patience_s: float = 300.0) -> Iterator[str]:
    """As `running`; yields the address."""
    with running(application_args, patience_s) as instance:
        yield instance.address


@contextmanager
def running(application_args: dict[str, Any], patience_s: float = 300.0) -> Iterator[Instance]:
    """Serves these `args` on a free port; yields it once /readyz answers 200.

    Nothing learned is taken from or left for another run unless the test says where.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tandem-test-") as folder,
        running_in(Path(folder), application_args, {}, patience_s) as instance,
    ):
        yield instance


@contextmanager
def running_in(
    run_dir: Path,
    application_args: dict[str, Any],
    environment: dict[str, str],
    patience_s: float = 300.0,
    script: Path = SERVE_RUN,
) -> Iterator[Instance]:
    """The same, with its files in `run_dir`, more in its environment, and run by this script."""
    port = free_port()
    application_args = {
        **application_args,
        "routing": {"keeps_state": False} | application_args.get("routing", {}),
        "telemetry": {"decision_log": False} | application_args.get("telemetry", {}),
    }
    file = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": "tandem",
                "route_prefix": "/",
                "import_path": "serve_app.app:build",
                "args": application_args,
            }
        ],
    }
    serve_file = run_dir / "serve.yaml"
    serve_file.write_text(yaml.safe_dump(file))
    instance = start(run_dir, serve_file, "127.0.0.1", port, _own_ports() | environment, script)
    try:
        _wait_until_ready(instance, run_dir, patience_s)
        yield instance
    finally:
        instance.stop()


def free_port() -> int:
    # Below those that the system gives to connections: one could take it before it is used.
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port


def _own_ports() -> dict[str, str]:
    """So that a test and a `make up` on the same machine do not meet."""
    return {
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "HF_HUB_OFFLINE": "1",
    }


def _wait_until_ready(instance: Instance, run_dir: Path, patience_s: float) -> None:
    give_up_at = time.monotonic() + patience_s
    while time.monotonic() < give_up_at and instance.is_alive:
        try:
            if httpx.get(f"{instance.address}/readyz", timeout=2.0).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise TimeoutError(f"not ready:\n{log_file(run_dir).read_text()[-4000:]}")


def served_file(instance: Instance) -> dict[str, Any]:
    """The Serve file that the instance was started with."""
    run = next(p for p in instance.processes() if p.pid == instance.pid)
    content: dict[str, Any] = yaml.safe_load(Path(run.cmdline()[-1]).read_text())
    return content


def vllm_processes(instance: Instance) -> list[str]:
    """Names of vLLM's processes: engines, and workers where these have processes of their own."""
    titles = []
    for process in instance.processes():
        with suppress(psutil.NoSuchProcess):
            titles.append(" ".join(process.cmdline()).strip())
    return sorted(title for title in titles if title.startswith("VLLM::"))


def files_written(run_dir: Path) -> dict[str, bytes]:
    """What a run in this folder and its Ray session have written, by name."""
    folders = {run_dir, socket_folder(run_dir)}
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {str(file): file.read_bytes() for file in files}
