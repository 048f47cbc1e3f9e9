from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serve_app.bench.client import Address
from serve_app.bench.peers.litellm import instant_backends
from serve_app.bench.traffic.records import Record
from serve_app.bench.traffic.workload import Asked
from tests.serving import free_port


def an_asked(**changes: Any) -> Asked:
    values = {"index": 0, "at_s": 0.0, "prompt_tokens": 100, "max_tokens": 20, "slo_s": 5.0}
    return Asked(**(values | changes))


def a_record(at_s: float = 0.0, e2e_s: float = 1.0, **changes: Any) -> Record:
    values: dict[str, Any] = {
        "index": 0, "sent_s": at_s, "slo_s": 5.0, "status": 200, "model": "small",
        "prompt_tokens": 100, "output_tokens": 20,
    }  # fmt: skip
    return Record(at_s=at_s, ended_s=at_s + e2e_s, **(values | changes))


@contextmanager
def an_instant_server(folder: Path) -> Iterator[Address]:
    """A real process that answers every request at once, as the model `fake`."""
    address = Address("127.0.0.1", free_port())
    with instant_backends([address], folder):
        yield address
