"""What is served and asked while things are broken. A Serve file and bodies; data only."""

import random
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any

from serve_app.bench.client import Address
from serve_app.bench.fake_file import fake_file

_TIMINGS = {
    "small": {"prefill_base_s": 0.01, "step_base_s": 0.015},
    "large": {"prefill_base_s": 0.02, "step_base_s": 0.025},
}
_REPLICAS = {"num_replicas": 2, "max_ongoing_requests": 100}
# So that a replica that stands still is found within a round.
_WATCHED = {"health_check_period_s": 1.0, "health_check_timeout_s": 2.0}
_TOKENS = (20, 120)
# What each replica needs one of, and only the further nodes, or only the head, have.
TIER_RESOURCE, ROUTER_RESOURCE = "tandem_tier", "tandem_router"
ROOM_PER_NODE = 4
# Longer than any recovery: what is lost is lost for want of care, not of time.
DEADLINE_S = 60.0


def fake_tiers(address: Address, *, has_nodes: bool = False) -> dict[str, Any]:
    """Two tiers and two routers, each with two replicas.

    Args:
        has_nodes: there are nodes for the tiers, which can be lost, and a head for the routers.
    """
    content = fake_file(
        address, _TIMINGS,
        routing={"keeps_state": False},
        telemetry={"decision_log": False, "access_log": False},
        resilience={"stalled_after_s": 2.0, "retry_budget": 1.0},
        ingress_deployment_config={"num_replicas": 2} | _WATCHED | on(has_nodes, ROUTER_RESOURCE),
    )  # fmt: skip
    for tier in content["applications"][0]["args"]["llm_configs"]:
        apart = {"max_replicas_per_node": 1} if has_nodes else {}
        tier["deployment_config"] = _REPLICAS | _WATCHED | apart | on(has_nodes, TIER_RESOURCE)
    return content


def on(has_nodes: bool, resource: str, count: int = 1) -> dict[str, Any]:
    """Where a replica may run, and how much of that node's room it takes."""
    wanted = {"resources": {resource: count}} if has_nodes else {}
    return {"ray_actor_options": {"num_cpus": 0} | wanted}


def num_replicas(content: dict[str, Any]) -> int:
    """Of all tiers together."""
    tiers = content["applications"][0]["args"]["llm_configs"]
    return sum(tier["deployment_config"]["num_replicas"] for tier in tiers)


def updates(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One version of the file after the other, for ever, and what each changes."""
    for number in count(1):
        content = deepcopy(content)
        args = content["applications"][0]["args"]
        first = args["llm_configs"][0]
        if number % 3 == 1:
            _change_engine(first, number)
            yield "another engine for the first tier", content
        elif number % 3 == 2:
            first["deployment_config"]["num_replicas"] = 1
            yield "one replica less of the first tier", content
        else:
            first["deployment_config"]["num_replicas"] = 2
            args["slo_classes"] = {f"class-{number}": {"e2e_ms": 5000}}
            yield "that replica again, and other routers", content


def _change_engine(tier: dict[str, Any], number: int) -> None:
    if "fake" in tier:
        tier["fake"]["step_base_s"] = 0.015 + 0.001 * number
    else:
        tier["engine_kwargs"]["max_num_seqs"] = 16 + number


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and the text that answers it."""

    body: dict[str, Any]
    expected: str

    @property
    def is_streamed(self) -> bool:
        return bool(self.body.get("stream"))


def asked(number: int, draw: random.Random) -> Asked:
    """The fakes count; so a word that is missing or said twice is seen. Every second is streamed.

    No two have the same content: what two engines die of is kept in quarantine.
    """
    tokens = draw.randint(*_TOKENS)
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": f"Request {number} of {draw.random()}"}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": number % 2 == 0,
    }
    return Asked(body, " ".join(f"word{index + 1}" for index in range(tokens)))
