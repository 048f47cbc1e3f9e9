import logging
from collections.abc import Iterator
from logging.config import dictConfig
from logging.handlers import MemoryHandler, RotatingFileHandler
from pathlib import Path

import pytest

from deployments.engine.start.serve_log import kept_log

LOG = logging.getLogger("ray.serve")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Where Serve's logger writes, buffered as Serve does it."""
    target = RotatingFileHandler(tmp_path / "replica.log")
    handler = MemoryHandler(1, target=target)
    LOG.addHandler(handler)
    yield tmp_path / "replica.log"
    LOG.removeHandler(handler)
    handler.close()
    target.close()


def test_an_engine_that_closes_all_log_handlers_leaves_serve_its_log(file: Path) -> None:
    with kept_log():
        dictConfig({"version": 1, "disable_existing_loggers": False})
    LOG.error("after the engine's start")
    assert "after the engine's start" in file.read_text()
    (handler,) = [h for h in LOG.handlers if isinstance(h, MemoryHandler)]
    assert isinstance(handler.target, RotatingFileHandler)
    assert handler.target.baseFilename == str(file)
