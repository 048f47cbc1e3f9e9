"""Push and pull of a synthetic model by the store and by others, on one S3 endpoint, in turns."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.store.places.s3 import S3Place
from serve_app.bench.client import Address
from serve_app.bench.processes import Command, ServerFailed, serving
from serve_app.bench.targets import Target, Verdict

SHARDS = 8
BUCKET = "models"
_BLOCK_BYTES = 2**24
# The model, one copy at the server, one pulled, and the parts that the server puts together.
_COPIES_ON_DISK = 5
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Mover:
    """A program that moves a folder. push, pull: commands without the two places at their end."""

    name: str
    push: Sequence[str]
    pull: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one transfer, start of the program included."""

    mover: str
    verb: str
    seconds: float


def synthetic_model(folder: Path, num_bytes: int) -> Path:
    """A folder of random shards, made once.

    Raises:
        ServerFailed: the disk lacks the space for the whole measurement.
    """
    free = shutil.disk_usage(folder.parent).free
    if free < _COPIES_ON_DISK * num_bytes:
        raise ServerFailed(
            f"{folder.parent} has {free / 1e9:.1f} GB free and this measurement needs "
            f"{_COPIES_ON_DISK * num_bytes / 1e9:.1f} GB; free some, or lower --gb"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "config.json").write_text("{}\n")
    for index in range(SHARDS):
        with (folder / f"model-{index:05d}-of-{SHARDS:05d}.safetensors").open("wb") as file:
            left = num_bytes // SHARDS
            while left:
                left -= file.write(os.urandom(min(_BLOCK_BYTES, left)))
    # Else the first transfer shares the disk with what is still being written.
    os.sync()
    return folder


@contextmanager
def s3_server(address: Address, folder: Path) -> Iterator[dict[str, str]]:
    """moto's server with an empty bucket; yields the AWS variables that lead there."""
    arguments = (sys.executable, "-m", "moto.server", "-H", address.host, "-p", str(address.port))
    variables = {
        "AWS_ENDPOINT_URL": f"http://{address.host}:{address.port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    with serving(Command(arguments, {}, "/moto-api/data.json", folder / "moto.log"), address):
        _create_bucket(variables)
        yield variables


def _create_bucket(variables: Mapping[str, str]) -> None:
    import boto3

    client = boto3.session.Session(
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
    ).client("s3", endpoint_url=variables["AWS_ENDPOINT_URL"])
    client.create_bucket(Bucket=BUCKET)
    client.close()


def rounds(movers: Sequence[Mover], model: Path, num_rounds: int, say: Say) -> Iterator[Took]:
    """Each mover pushes and pulls in each round; the order turns, so that none is always first."""
    for number in range(num_rounds):
        turn = movers if number % 2 == 0 else list(reversed(movers))
        for mover in turn:
            yield from _round(mover, model, f"s3://{BUCKET}/{number}/{mover.name}", say)


def _round(mover: Mover, model: Path, uri: str, say: Say) -> Iterator[Took]:
    pulled = model.with_name("store-pulled")
    shutil.rmtree(pulled, ignore_errors=True)
    say(f"{mover.name}: push")
    yield Took(mover.name, "push", _timed([*mover.push, str(model), uri], mover.environment))
    say(f"{mover.name}: pull")
    yield Took(mover.name, "pull", _timed([*mover.pull, uri, str(pulled)], mover.environment))
    _refuse_different(model, pulled)
    shutil.rmtree(pulled)
    _, _, prefix = uri.removeprefix("s3://").partition("/")
    with closing(S3Place(BUCKET, prefix)) as place:
        place.delete(list(place.sizes()))


def _timed(command: Sequence[str], environment: Mapping[str, str]) -> float:
    began_s = time.perf_counter()
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    took_s = time.perf_counter() - began_s
    if done.returncode != 0:
        raise ServerFailed(f"`{' '.join(command[:4])} ...` failed: {done.stdout}{done.stderr}")
    return took_s


def _refuse_different(model: Path, pulled: Path) -> None:
    for path in model.iterdir():
        if (pulled / path.name).stat().st_size != path.stat().st_size:
            raise ServerFailed(f"{path.name} came back with another size")


def medians(took: Sequence[Took]) -> dict[str, dict[str, float]]:
    """Seconds by mover and verb."""
    names = {each.mover: None for each in took}
    return {
        name: {
            verb: statistics.median(t.seconds for t in took if (t.mover, t.verb) == (name, verb))
            for verb in ("push", "pull")
        }
        for name in names
    }


def verdicts(seconds: Mapping[str, Mapping[str, float]], ours: str, peer: str) -> list[Verdict]:
    """How many times as fast as the peer the store is; at least as fast is asked."""
    return [
        Target(f"{verb}: throughput beside {peer}", "x", low=1.0).judged(
            seconds[peer][verb] / seconds[ours][verb]
        )
        for verb in ("push", "pull")
    ]


def as_document(
    took: Sequence[Took], judged: Sequence[Verdict], num_bytes: int, about: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "object": "tandem.bench.store",
        **about,
        "model_bytes": num_bytes,
        "seconds": [{"by": t.mover, "verb": t.verb, "seconds": round(t.seconds, 2)} for t in took],
        "targets": [verdict.as_document() for verdict in judged],
        "is_met": all(verdict.is_met for verdict in judged),
    }
