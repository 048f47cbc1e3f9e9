"""What routing alone costs: with tiers that answer at once, only the way there and back is left."""

from typing import Any

from serve_app.bench.client import Address, post
from serve_app.bench.fake_file import fake_file
from serve_app.bench.load import closed_loop
from serve_app.bench.overhead.measures import Measure, Samples, Target
from serve_app.bench.overhead.turns import Method, Say

_PATH = "/v1/chat/completions"
_CONCURRENCY = 16
_ROUNDS = 4
_WARM_UP_S = 3.0
_SINGLE_S = 2.0
_CONCURRENT_S = 4.0
_INSTANT = {
    "prefill_base_s": 0.0, "prefill_per_token_s": 0.0, "step_base_s": 0.0,
    "step_per_sequence_s": 0.0, "output_tokens": 16,
}  # fmt: skip

MEASURES = (
    Measure("latency_ms", "instant reply, c=1", "ms"),
    Measure("requests_per_s", f"instant replies, c={_CONCURRENCY}", "req/s",
            (Target("value", "at least", 500.0), Target("ratio", "at least", 4.0))),
)  # fmt: skip


def instant_tiers(address: Address) -> dict[str, Any]:
    """A Serve file: two fake tiers without any delay, listening at `address`."""
    return fake_file(address, {"small": _INSTANT, "large": _INSTANT})


def method() -> Method:
    """Measures a router."""
    return Method(MEASURES, _take, num_steps=1 + _ROUNDS)


def request(address: Address) -> bytes:
    message = {"role": "user", "content": "What is the capital of France?"}
    return post(address, _PATH, {"model": "auto", "messages": [message], "max_tokens": 16})


async def ceiling_requests_per_s(backend: Address) -> float:
    """What the load tool gets from a backend without any router: it must not be the limit."""
    done = await closed_loop(
        backend, request(backend), connections=_CONCURRENCY, duration_s=_SINGLE_S
    )
    return len(done) / _SINGLE_S


async def _take(address: Address, say: Say) -> Samples:
    asked = request(address)
    say("warming up")
    await closed_loop(address, asked, connections=_CONCURRENCY, duration_s=_WARM_UP_S)
    latencies_ms: list[float] = []
    requests_per_s: list[float] = []
    for number in range(1, _ROUNDS + 1):
        say(f"round {number} of {_ROUNDS}: c=1, then c={_CONCURRENCY}")
        alone = await closed_loop(address, asked, connections=1, duration_s=_SINGLE_S)
        latencies_ms += [latency * 1e3 for latency in alone]
        done = await closed_loop(address, asked, connections=_CONCURRENCY, duration_s=_CONCURRENT_S)
        requests_per_s.append(len(done) / _CONCURRENT_S)
    return {"latency_ms": latencies_ms, "requests_per_s": requests_per_s}
