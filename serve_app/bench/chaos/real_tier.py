"""A real model under faults: two replicas of a Serve file's first tier, and what it says.

Its text at temperature 0 is what every later reply to the same question has to be, token by token,
whatever breaks meanwhile.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import httpx

from serve_app.bench.chaos.callers import Answer
from serve_app.bench.chaos.rounds import Round
from serve_app.bench.chaos.scenario import (
    ROOM_PER_NODE,
    ROUTER_RESOURCE,
    TIER_RESOURCE,
    Asked,
    on,
)
from serve_app.bench.load import LoadFailed

_SUBJECTS = ("a dog", "the sea", "a clock", "two friends", "a river", "winter", "a king", "bread")
_TOKENS = 64
# An engine that stands still is to be found, and replaced, within a round.
_RESILIENCE = {"stalled_after_s": 10.0}
_VARIABLES = {"TANDEM_ENGINE_STALLED_AFTER_S": "20"}


def two_replicas(
    content: Mapping[str, Any], decisions: str, *, has_nodes: bool = False
) -> dict[str, Any]:
    """The Serve file with two replicas of its first tier alone, and two routers.

    In float32: in bfloat16, what else is in a batch decides now and then which token is likeliest.

    Args:
        decisions: folder of the decision log, which knows what streams went on elsewhere.
        has_nodes: there are nodes for the replicas, which can be lost, and a head for the routers.
    """
    derived: dict[str, Any] = deepcopy(dict(content))
    args = derived["applications"][0]["args"]
    tier = args["llm_configs"][0]
    tier["engine_kwargs"] = tier.get("engine_kwargs", {}) | {"dtype": "float32"}
    # A node each: Serve takes no `max_replicas_per_node` where engines are placed by Ray.
    tier["deployment_config"] = {"num_replicas": 2, **on(has_nodes, TIER_RESOURCE, ROOM_PER_NODE)}
    environment = tier.get("runtime_env") or {}
    tier["runtime_env"] = environment | {"env_vars": environment.get("env_vars", {}) | _VARIABLES}
    args |= {
        "llm_configs": [tier],
        "routing": args.get("routing", {}) | {"keeps_state": False},
        "telemetry": {"decision_log_folder": decisions, "access_log": False},
        "resilience": args.get("resilience", {}) | _RESILIENCE,
        "ingress_deployment_config": {"num_replicas": 2, **on(has_nodes, ROUTER_RESOURCE)},
    }
    return derived


async def questions(client: httpx.AsyncClient) -> Callable[[int, random.Random], Asked]:
    """Asks each question alone and then all at once; the request of each number, with its text.

    Raises:
        LoadFailed: a reply is no 200, or other text beside others than alone, so that a text would
            say nothing of what broke.
    """
    bodies = [_body(subject) for subject in _SUBJECTS]
    alone = [await _text(client, body) for body in bodies]
    if alone != await asyncio.gather(*(_text(client, body) for body in bodies)):
        raise LoadFailed(
            "the model says other text in a batch than alone, at temperature 0: what breaks cannot "
            "be told from that. Choose another tier or dtype."
        )

    def ask(number: int, _: random.Random) -> Asked:
        which = number % len(bodies)
        # The seed changes no token at temperature 0, but makes it another request: what two
        # engines die of is kept in quarantine.
        body = bodies[which] | {"seed": number, "stream": number // len(bodies) % 2 == number % 2}
        return Asked(body, alone[which])

    return ask


def with_tries(rounds: Iterable[Round], entries: Iterable[Mapping[str, Any]]) -> list[Round]:
    """The rounds, with the number of engines that spoke in each stream, which vLLM does not say.

    Args:
        entries: the decision log's. An answer whose router died before it wrote one stays as it is.
    """
    tries = {entry["decision_id"]: int(entry["attempts"]) for entry in entries}

    def told(answer: Answer) -> Answer:
        more = tries.get(answer.decision_id or "", answer.first_tries) - answer.first_tries
        return replace(answer, num_engines=1 + more) if answer.is_streamed else answer

    return [replace(one, answers=tuple(map(told, one.answers))) for one in rounds]


def _body(subject: str) -> dict[str, Any]:
    content = f"Tell a long story about {subject}."
    return {
        "model": "auto", "temperature": 0, "max_tokens": _TOKENS,
        "messages": [{"role": "user", "content": content}],
    }  # fmt: skip


async def _text(client: httpx.AsyncClient, body: Mapping[str, Any]) -> str:
    response = await client.post("/v1/chat/completions", json=dict(body))
    if response.status_code != 200:
        raise LoadFailed(f"status {response.status_code} before anything broke: {response.text}")
    return str(response.json()["choices"][0]["message"]["content"])
