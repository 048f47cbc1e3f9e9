"""S3 over HTTP for tests: moto's server speaks the protocol."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

logging.getLogger("werkzeug").setLevel(logging.ERROR)


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a server that runs until the end of the block."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def set_aws_environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the usual AWS variables says where S3 is."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
