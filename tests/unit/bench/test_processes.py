import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from serve_app.bench.client import Address
from serve_app.bench.peers import instant_backend
from serve_app.bench.processes import (
    Command,
    ServerFailed,
    alone,
    refuse_taken,
    serving,
    uninterrupted,
)


def a_free_address() -> Address:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", probe.getsockname()[1])


def a_backend(address: Address, folder: Path) -> Command:
    script = str(instant_backend.__file__)
    return Command((sys.executable, script, str(address.port)), {}, "/", folder / "log")


def test_a_server_answers_within_the_block_and_is_gone_after_it(tmp_path: Path) -> None:
    address = a_free_address()
    with serving(a_backend(address, tmp_path), address) as (host, port):
        reply = httpx.post(f"http://{host}:{port}/v1/chat/completions", json={"model": "auto"})
        assert reply.json()["choices"][0]["message"]["content"].startswith("word word")
    refuse_taken([address])


def test_a_server_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    failing = Command((sys.executable, "-c", "raise SystemExit('no weights')"), {}, "/",
                      tmp_path / "log")  # fmt: skip
    with (
        pytest.raises(ServerFailed, match=r"(?s)no weights.*ended with status 1"),
        serving(failing, a_free_address()),
    ):
        pass


def test_a_port_in_use_is_refused_by_name(tmp_path: Path) -> None:
    address = a_free_address()
    with (
        serving(a_backend(address, tmp_path), address),
        pytest.raises(ServerFailed, match=f"127.0.0.1:{address.port}"),
    ):
        refuse_taken([address])


def test_a_second_measurement_is_refused_while_one_runs(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(ServerFailed, match="another measurement"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("end of the block")
    assert reached == ["end of the block"]
