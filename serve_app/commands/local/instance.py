"""One `serve run` on this machine, with everything it starts: begun, found again, ended.

Every process of an instance carries the instance's id in its environment, wherever Ray, vLLM or
HAProxy puts it in the process tree and whatever became of its parent. So only those are ever ended.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from serve_app.commands.local.environment import private_folder, serving_environment, socket_folder

MARK = "TANDEM_INSTANCE"
# Long enough for Serve to let requests finish, see `stop`.
GRACE_S = 45.0
SERVE_RUN = Path(__file__).parents[2] / "serve_run.py"


@dataclass(frozen=True, slots=True)
class Instance:
    """What has to be remembered of a running instance.

    Args:
        pid: the `serve run` process, also its session and process group.
        started: when that process started, in epoch seconds, so that a reused pid is not taken for
            it.
    """

    id: str
    pid: int
    started: float
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def is_alive(self) -> bool:
        return self._serve_run() is not None

    def processes(self) -> list[psutil.Process]:
        """All its processes that still run."""
        return [process for process in psutil.process_iter() if mark(process) == self.id]

    def _serve_run(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            is_it = process.create_time() == self.started
        except psutil.NoSuchProcess:
            return None
        if not is_it or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process

    def stop(self) -> None:
        """Lets Serve finish its requests and end its cluster, then ends whatever is left."""
        serve_run = self._serve_run()
        everything = self.processes()
        if serve_run is not None:
            serve_run.send_signal(signal.SIGINT)
            psutil.wait_procs([serve_run], timeout=GRACE_S)
        # Ray's own processes follow within a second or two when the driver has gone.
        psutil.wait_procs(everything, timeout=5 if serve_run is not None else 0)
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = self.processes()
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            psutil.wait_procs(left, timeout=5)


def start(
    run_dir: Path,
    serve_file: Path,
    host: str,
    port: int,
    extra: Mapping[str, str],
    script: Path = SERVE_RUN,
) -> Instance:
    """Starts `serve run` on the file, detached, with a Ray cluster of its own; remembers it.

    Args:
        extra: variables on top of `serving_environment`. script: what is run on the file.
    """
    for folder in (run_dir, socket_folder(run_dir)):
        private_folder(folder)
    identity = uuid.uuid4().hex
    environment = serving_environment(run_dir, os.environ) | {**extra, MARK: identity}
    # -P: the script's own folder is no place to import from; PYTHONPATH names the right one.
    command = [sys.executable, "-P", str(script), str(serve_file)]
    with log_file(run_dir).open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    started = psutil.Process(process.pid).create_time()
    instance = Instance(identity, process.pid, started, host, port)
    state_file(run_dir).write_text(json.dumps(asdict(instance)) + "\n")
    return instance


def find(run_dir: Path) -> Instance | None:
    """The instance that was started last and not forgotten, alive or not."""
    try:
        return Instance(**json.loads(state_file(run_dir).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def forget(run_dir: Path) -> None:
    """Removes what a stopped instance leaves; its log and its Serve file stay."""
    state_file(run_dir).unlink(missing_ok=True)
    sockets = socket_folder(run_dir)
    shutil.rmtree(sockets / "ray", ignore_errors=True)
    # HAProxy's files, in a folder named after Ray's node.
    for config in sockets.glob("*/haproxy.cfg"):
        shutil.rmtree(config.parent, ignore_errors=True)
    if sockets != run_dir:
        shutil.rmtree(sockets, ignore_errors=True)


def mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        # Gone meanwhile, or not ours to look at: then it is not ours to end either.
        return None


def state_file(run_dir: Path) -> Path:
    return run_dir / "instance.json"


def log_file(run_dir: Path) -> Path:
    return run_dir / "serve.log"
