"""Builders of the simulator's tests: an engine with round figures, and ways to run it out."""

import random
from typing import Any

from serve_app.simulator.engine import Finished, Replica
from serve_app.simulator.timing import EngineTiming

# Sharp, so that a step takes 10 ms until it holds more than 100 tokens, then 0.1 ms for each.
TIMING: dict[str, float] = {"weights_s": 0.01, "token_s": 1e-4, "roofline_sharpness": 200.0}


def an_engine(*, seed: int = 1, timing: dict[str, float] | None = None, **changes: Any) -> Replica:
    defaults: dict[str, Any] = {
        "max_num_seqs": 8,
        "max_batched_tokens": 1000,
        "kv_tokens": 10_000,
        "noise": random.Random(seed),
    }
    return Replica(EngineTiming(**(TIMING | (timing or {}))), **(defaults | changes))


def submit(
    engine: Replica,
    request_id: int | str = "r1",
    *,
    prompt_tokens: int = 100,
    output_tokens: int = 11,
    now: float = 0.0,
    **changes: Any,
) -> None:
    engine.submit(
        request_id, prompt_tokens=prompt_tokens, output_tokens=output_tokens, now=now, **changes
    )


def run_out(engine: Replica) -> dict[int | str, Finished]:
    """Follows `next_finish_s` until the engine is idle."""
    finished: dict[int | str, Finished] = {}
    while (at_s := engine.next_finish_s) is not None:
        finished |= {reply.request_id: reply for reply in engine.advance(at_s)}
        assert engine.kv_usage <= 1.0
    return finished
