"""Keeps a Serve replica's log while an engine sets up its own logging."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler


@contextmanager
def kept_log() -> Iterator[None]:
    """Gives Serve's log handlers their files back at the end of the block.

    vLLM's `dictConfig` closes every handler of the process. Serve's then write nowhere; and a
    controller that was restarted asks each replica for its log file, and replaces the replicas that
    fail to say, which are all replicas of all engines at once.
    """
    handlers = [h for h in logging.getLogger("ray.serve").handlers if isinstance(h, MemoryHandler)]
    files = [handler.target for handler in handlers]
    try:
        yield
    finally:
        for handler, file in zip(handlers, files, strict=True):
            handler.setTarget(file)
