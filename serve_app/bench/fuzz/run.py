"""Sends inputs to the application and counts how it answers. Strategies in, a Tally out."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from serve_app.bench.fuzz.inputs import Sent, requests
from serve_app.bench.fuzz.mutations import variants
from serve_app.bench.fuzz.target import Target, target

_PER_ROUND = 2_000
_VARIANTS = 9
_HANGS_AFTER_S = 10.0
_MOST_EXAMPLES = 20
_NOT_IN_OPENAIS_FORM = "error without OpenAI's form"


@dataclass(slots=True)
class Tally:
    """Answers by status; what went wrong, with a few examples of it."""

    by_status: Counter[int] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)

    @property
    def num_inputs(self) -> int:
        return sum(self.by_status.values()) + sum(self.crashes.values())

    @property
    def num_server_errors(self) -> int:
        return sum(count for status, count in self.by_status.items() if status >= 500)

    def note(self, sent: Sent, what: str) -> None:
        """Keeps the first inputs that went wrong."""
        if len(self.examples) < _MOST_EXAMPLES:
            body = b"".join(sent.chunks)
            self.examples.append(
                {
                    "what": what,
                    "request": f"{sent.method} {sent.path}",
                    "headers": repr([h for h in sent.headers if h[0] != b"authorization"])[:500],
                    "body": repr(body)[:2000],
                }
            )


def fuzz(num_inputs: int, *, first_seed: int, say: Callable[[str], None]) -> Tally:
    """Sends so many inputs, in rounds of a seed each, to one application."""
    tally = Tally()
    with asyncio.Runner() as runner:
        aim = target(has_keys=True)
        ended = runner.run(_begin(aim))
        left, number = num_inputs, first_seed
        while left > 0:
            _round(runner, aim, -(-min(left, _PER_ROUND) // (1 + _VARIANTS)), number, tally)
            left, number = num_inputs - tally.num_inputs, number + 1
            say(f"{tally.num_inputs} inputs")
        runner.run(_end(ended))
    return tally


def _round(runner: asyncio.Runner, aim: Target, number: int, of: int, tally: Tally) -> None:
    # Nothing is shrunk: each input is judged as it is, and the run goes on.
    @seed(of)
    @settings(
        max_examples=number, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(requests(aim.token), st.integers(0, 2**32))
    def every(sent: Sent, spoiling: int) -> None:
        runner.run(_all(aim, [sent, *variants(sent, spoiling, _VARIANTS)], tally))

    every()


async def _all(aim: Target, several: list[Sent], tally: Tally) -> None:
    for sent in several:
        await judge(aim, sent, tally)


async def judge(aim: Target, sent: Sent, tally: Tally) -> None:
    """Sends one request and counts its answer."""
    try:
        async with asyncio.timeout(_HANGS_AFTER_S):
            status, headers, body = await answer(aim.app, sent)
    except Exception as err:
        # A crash is what is looked for: whatever it is, it is counted and shown.
        tally.crashes[type(err).__name__] += 1
        tally.note(sent, f"{type(err).__name__}: {err}"[:500])
        return
    tally.by_status[status] += 1
    if status >= 500:
        tally.note(sent, f"status {status}: {body[:300]!r}")
    if any(b"\r" in value or b"\n" in value for _, value in headers):
        tally.crashes["header injection"] += 1
        tally.note(sent, f"header injection: {headers!r}"[:500])
    is_head = sent.method == "HEAD"
    if status >= 400 and not is_head and not body.startswith(b'{"error":{"message":'):
        tally.crashes[_NOT_IN_OPENAIS_FORM] += 1
        tally.note(sent, f"{_NOT_IN_OPENAIS_FORM}: {status} {body[:200]!r}")


async def answer(app: Any, sent: Sent) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of what the application answers."""
    chunks = [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(sent.chunks)}
        for index, chunk in enumerate(sent.chunks)
    ]
    started: dict[str, Any] = {}
    body: list[bytes] = []

    async def receive() -> dict[str, Any]:
        if chunks:
            return chunks.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            body.append(message.get("body", b""))

    await app(_scope(sent), receive, send)
    return started["status"], started["headers"], b"".join(body)


def _scope(sent: Sent) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": sent.method,
        "scheme": "http", "path": unquote(sent.path), "raw_path": sent.path.encode(),
        "query_string": b"", "root_path": "", "headers": list(sent.headers),
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip


async def _begin(aim: Target) -> asyncio.Task[None] | None:
    """Prepares the application, and runs its limiter beside it."""
    if aim.begin is not None:
        await aim.begin()
    return None if aim.limiter is None else asyncio.create_task(aim.limiter.run())


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
