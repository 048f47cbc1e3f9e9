"""A load as it is asked for on the command line, and its open loop. Settings in, Records out."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from serve_app.bench.client import Address, post
from serve_app.bench.traffic.open_loop import Target, offer
from serve_app.bench.traffic.records import Record
from serve_app.bench.traffic.source import Source
from serve_app.bench.traffic.workload import ROUTED, Asked, body

_CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Load:
    """Where, what, how often and how long; exactly one of rate_per_s, users or trace's own rate."""

    url: str
    rate_per_s: float | None
    users: int | None
    trace: Path | None
    scale: float
    pace_s: float
    seconds: float
    model: str
    slo_ms: float | None
    is_plain: bool

    @property
    def address(self) -> Address:
        """
        Raises:
            ValueError: the address is none.
        """
        parts = urlsplit(self.url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError(f"--url {self.url!r}: an address like http://127.0.0.1:8000 is needed")
        return Address(parts.hostname, parts.port or 80)

    @property
    def text(self) -> str:
        lengths = f", lengths of {self.trace.name} times {self.scale:g}" if self.trace else ""
        if self.users is not None:
            every = f" every {self.pace_s:g} s" if self.pace_s else " again at once"
            return f"{self.users} users who each ask{every}{lengths}"
        if self.trace is not None and self.rate_per_s is None:
            return f"{self.trace.name} as it came{lengths}"
        spacing = "in the bursts of the trace" if self.trace else "evenly spaced"
        return f"{self.rate_per_s:g} requests/s {spacing}{lengths}"


def open_loop(asked: Load) -> list[Record]:
    """Sends it all, each request when it is due, and waits for the last reply.

    Raises:
        ValueError: address or trace is none.
    """
    address = asked.address
    source = Source.of(asked.trace, asked.scale, asked.slo_ms)
    rate = asked.rate_per_s if asked.rate_per_s is not None else source.rate_per_s
    plan = source.constant if asked.trace is None else source.replayed
    requests = plan(rate_per_s=rate, duration_s=asked.seconds)
    slo = None if asked.is_plain else ROUTED
    salt = datetime.now(UTC).isoformat()

    def request(one: Asked) -> bytes:
        return post(address, _CHAT, body(one, model=asked.model, salt=salt, slo=slo))

    taken: list[Record] = []
    asyncio.run(offer(Target(address, request), requests, taken.append))
    return taken
