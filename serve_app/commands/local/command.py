"""`tandem up` and `tandem down`: the whole of it on this machine, started and stopped."""

import fcntl
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from deployments.local_models import prepare, tandem_home
from deployments.weights.scripts import ScriptFailed
from serve_app.commands.local.environment import private_folder
from serve_app.commands.local.instance import Instance, find, forget, log_file, start
from serve_app.commands.local.watch import Say, StartFailed, last_lines, wait_until_ready
from serve_app.commands.serve_file import ServeFile, derive, read_serve_file

console = Console(highlight=False, soft_wrap=True)


def up(
    config: Annotated[Path, typer.Argument(help="Serve config file.")] = Path("models.local.yaml"),
    fake: Annotated[bool, typer.Option(help="Timed fakes in place of the models.")] = False,
    port: Annotated[int | None, typer.Option(help="Listen here, not at the file's port.")] = None,
    patience_s: Annotated[float, typer.Option(help="Seconds to wait for the engines.")] = 900.0,
) -> None:
    """Prepare the embedded models and serve a config file on this machine, in the background."""
    begun = time.monotonic()
    run_dir = private_folder(tandem_home() / "run")
    say = narrator(begun)
    try:
        file = derive(read_serve_file(config), is_fake=fake, port=port)
        prepare(file.embedded_models, say)
        with one_at_a_time(run_dir):
            found = running(run_dir, file)
            instance = found or launch(run_dir, file, say)
        watch(instance, run_dir, say, patience_s, is_ours=found is None)
    except (ValueError, OSError, ScriptFailed) as err:
        raise fail(str(err)) from err
    console.print(summary(instance, file, time.monotonic() - begun), markup=False)


def down() -> None:
    """Stop what `tandem up` started, and nothing else."""
    run_dir = private_folder(tandem_home() / "run")
    instance = find(run_dir)
    if instance is None:
        console.print("nothing is running")
        return
    with console.status(f"stopping {instance.address}"):
        end(instance, run_dir)
    console.print(f"stopped {instance.address}")


def running(run_dir: Path, file: ServeFile) -> Instance | None:
    """The instance that already serves the file.

    Raises:
        ValueError: when its address is taken, or an instance serves something else.
    """
    instance = find(run_dir)
    if instance is not None and instance.is_alive:
        derived = run_dir / "serve.yaml"
        if not derived.is_file() or derived.read_text() != _as_text(file):
            raise ValueError(
                f"already serving another file, or this one as it was before, at "
                f"{instance.address}; `tandem down` stops it"
            )
        console.print(f"already running at {instance.address}")
        return instance
    if instance is not None:
        # Its main process died; what that left would be in our way.
        end(instance, run_dir)
    if is_taken(file.host, file.port):
        raise ValueError(
            f"something else already listens on {file.host}:{file.port}; stop it, or choose "
            "another port with `tandem up --port`"
        )
    return None


def launch(run_dir: Path, file: ServeFile, say: Say) -> Instance:
    """Writes the derived file and starts it."""
    derived = run_dir / "serve.yaml"
    derived.write_text(_as_text(file))
    say(f"starting Ray Serve; its log is {log_file(run_dir)}")
    offline = {"HF_HUB_OFFLINE": "1"} if file.is_offline else {}
    return start(run_dir, derived, file.host, file.port, offline)


def watch(instance: Instance, run_dir: Path, say: Say, patience_s: float, *, is_ours: bool) -> None:
    """Waits until it is ready; when that fails or the user gives up, ends what is ours."""
    try:
        with console.status("waiting for the engines"):
            wait_until_ready(instance, log_file(run_dir), say, patience_s)
    except (StartFailed, KeyboardInterrupt) as err:
        lines = last_lines(log_file(run_dir))
        if is_ours:
            end(instance, run_dir)
        raise fail(f"{lines}\n\n{str(err) or 'interrupted'}") from err


def _as_text(file: ServeFile) -> str:
    return yaml.safe_dump(file.content, sort_keys=False)


def end(instance: Instance, run_dir: Path) -> None:
    instance.stop()
    forget(run_dir)


def fail(message: str) -> typer.Exit:
    console.print(message, style="red", markup=False)
    return typer.Exit(1)


def narrator(begun: float) -> Say:
    """Prints lines with the seconds since `begun`."""
    return lambda line: console.print(f"{time.monotonic() - begun:6.1f} s  {line}", markup=False)


def is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@contextmanager
def one_at_a_time(run_dir: Path) -> Iterator[None]:
    """Keeps a second `tandem up` from starting while this one decides whether to."""
    with (run_dir / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def summary(instance: Instance, file: ServeFile, seconds: float) -> str:
    """What to try next."""
    url = f"{instance.address}/v1/chat/completions"
    names = " and ".join(tier.model_id for tier in file.tiers)
    # Without the second sentence the 4-bit model is undecided between English and French.
    question = "What is the capital of France? Answer in one short sentence."
    message = f'{{"role": "user", "content": "{question}"}}'
    options = '"model": "auto", "temperature": 0, "max_tokens": 32'
    body = f'{{{options}, "messages": [{message}]}}'
    return f"""
Ready after {seconds:.0f} s at {instance.address}/v1 with {names}.

  curl -s {url} -H 'content-type: application/json' \\
    -d '{body}'

Give it five seconds for the whole reply, and see in the headers what was chosen and why:

  curl -si {url} -H 'content-type: application/json' \\
    -H 'x-slo-e2e-ms: 5000' \\
    -d '{body}'

`make down` stops it."""
