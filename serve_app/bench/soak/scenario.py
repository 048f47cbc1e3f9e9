"""What is served and asked for a long time. A Serve file and requests; data only."""

from collections.abc import Sequence
from typing import Any

from serve_app.bench.client import Address
from serve_app.bench.fake_file import fake_file
from serve_app.bench.overload import scenario as overload
from serve_app.bench.traffic.workload import ROUTED, Asked, body, constant, lognormal_lengths
from serve_app.simulator.trace import Request

# Long steps, so that the engines leave the machine to what is tested: router, Ray and HAProxy.
_TIMINGS = {
    "small": {"prefill_base_s": 0.02, "step_base_s": 0.05, "noise": 0.05},
    "large": {"prefill_base_s": 0.05, "step_base_s": 0.10, "noise": 0.05},
}
# Median in tokens and spread of the logarithm.
_PROMPT, _REPLY = (80.0, 0.5), (16.0, 0.5)
_NUM_LENGTHS = 1000
_SEED = 4


def fake_tiers(address: Address, decisions: str) -> dict[str, Any]:
    """A fast and a slow fake tier with everything on that runs in production.

    Args:
        decisions: folder of the decision log.
    """
    return fake_file(
        address, _TIMINGS,
        routing={"keeps_state": False}, telemetry={"decision_log_folder": decisions},
    )  # fmt: skip


def lengths() -> list[Request]:
    return lognormal_lengths(_PROMPT, _REPLY, count=_NUM_LENGTHS, seed=_SEED)


def asked(rate_per_s: float, duration_s: float) -> Sequence[Asked]:
    """A request every 1 / rate seconds."""
    return constant(lengths(), rate_per_s=rate_per_s, duration_s=duration_s, seed=_SEED)


def overloaded_tiers(address: Address, decisions: str) -> dict[str, Any]:
    """Fake tiers that ten requests a second keep busy, which the machine hardly notices."""
    return overload.fake_tiers(address, decisions)


def overload_of(times: float, duration_s: float) -> Sequence[Asked]:
    """So many times the requests that `overloaded_tiers` can answer, at random times."""
    planned = overload.planned(times * overload.capacity_per_s(), duration_s, _SEED)
    return [
        Asked(index, one.at_s, one.prompt_tokens, one.output_tokens, one.slo_s)
        for index, one in enumerate(planned)
    ]


def body_of(request: Asked, *, is_fake: bool, can_be_refused: bool = False) -> dict[str, Any]:
    """A chat body; a fake writes as much as it may, a model ends where it wants to.

    Args:
        can_be_refused: whoever cannot be served in time wants a 429, not a late reply.
    """
    slo = {"on_infeasible": "reject"} if can_be_refused else ROUTED
    content = body(request, model="auto", salt="soak", slo=slo)
    return content | {"fake": {"output_tokens": request.max_tokens}} if is_fake else content
