"""One run of a trace: a file in, forecasts in order of arrival out, and what a plot shows."""

from collections.abc import Callable, Sequence
from pathlib import Path

from serve_app.bench.calibration.plots import Series, observed
from serve_app.bench.calibration.replay import CONTEXT_TOKENS, Forecasted, Scenario, replay
from serve_app.bench.calibration.scores import LEAST_REQUESTS, NUM_WARM_UP, Scored
from serve_app.simulator.trace import Request, read_trace

STEPS_PER_RUN = 11
"""How often `run` says how far it is, at most."""


def scorable(path: Path) -> list[Request]:
    """The trace's requests.

    Raises:
        ValueError: a line is wrong, there are too few, or one is too long for the engine.
    """
    trace = read_trace(path)
    if len(trace) < LEAST_REQUESTS:
        raise ValueError(
            f"{path.name} holds {len(trace)} requests; {LEAST_REQUESTS} are needed: the first "
            f"{NUM_WARM_UP} teach and are not scored, and fewer after them say nothing about 95 %."
        )
    longest = max(trace, key=lambda request: request.prompt_tokens + request.output_tokens)
    if longest.prompt_tokens + longest.output_tokens > CONTEXT_TOKENS:
        raise ValueError(
            f"{path.name} has a request of {longest.prompt_tokens} + {longest.output_tokens} "
            f"tokens; the simulated engine's context window holds {CONTEXT_TOKENS}."
        )
    return trace


def run(
    trace: Sequence[Request], scenario: Scenario, name: str, say: Callable[[str], None]
) -> list[Forecasted]:
    """Replays the trace once; `say` is told of each tenth and of what comes next."""
    replies: list[Forecasted] = []
    tenth = -(-len(trace) // (STEPS_PER_RUN - 1))
    for reply in replay(trace, scenario):
        replies.append(reply)
        if len(replies) % tenth == 0 or len(replies) == len(trace):
            say(f"{name.replace('_', '-')}: {len(replies):,} of {len(trace):,} requests replayed")
    say(f"{name.replace('_', '-')}: asking {len(trace):,} forecasts")
    return sorted(replies, key=lambda reply: reply.request.arrived_at_s)


def series(name: str, scored: Sequence[Scored], num_requests: int) -> Series:
    """A run as a plot shows it."""
    is_slowed = name == "slow_down"
    middle = num_requests // 2 - NUM_WARM_UP
    return Series(
        name="half as fast from the middle on" if is_slowed else "steady",
        reliability=observed([one.stated for one in scored]),
        is_covered=[one.is_covered for one in scored],
        predicted_s=[one.median_s for one in scored],
        actual_s=[one.e2e_s for one in scored],
        marks={middle: "slow-down"} if is_slowed else {},
    )
