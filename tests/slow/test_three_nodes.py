"""Tiers on nodes of their own: three raylets on this machine, resources of ours stand for GPUs."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serve_app.commands.local.instance import Instance
from tests import nodes
from tests.integration.conftest import LARGE, SMALL, a_body, a_tier
from tests.serving import running_in

_PATIENCE_S, _LOOKS = 90.0, 180
_SMALL_NODE, _LARGE_NODE = {"small_gpu": 2}, {"large_gpu": 1}
_REPLICA = re.compile(r"ray::ServeReplica:tandem:(tier-small|tier-large|router)")


def on_gpu(tier: dict[str, object], gpu: str, replicas: int) -> dict[str, object]:
    """The tier, each replica of which needs one of these."""
    actor = {"num_cpus": 0, "resources": {gpu: 1}}
    return tier | {"deployment_config": {"num_replicas": replicas, "ray_actor_options": actor}}


ARGS = {
    "llm_configs": [
        on_gpu(a_tier("small", 1.0, SMALL), "small_gpu", 2),
        on_gpu(a_tier("large", 2.0, LARGE), "large_gpu", 1),
    ],
    # Only the head has CPUs.
    "ingress_deployment_config": {"ray_actor_options": {"num_cpus": 0.1}},
}


@pytest.fixture(scope="module")
def nodes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nodes") / "nodes.json"


@pytest.fixture(scope="module")
def instance(nodes_file: Path) -> Iterator[Instance]:
    nodes.ask_for(nodes_file, {"first": _SMALL_NODE, "big": _LARGE_NODE})
    environment = {nodes.NODES_FILE: str(nodes_file)}
    script = Path(nodes.__file__)
    with running_in(nodes_file.parent, ARGS, environment, script=script) as served:
        yield served


def replicas_on_nodes(instance: Instance) -> Iterator[tuple[str, str, psutil.Process]]:
    """What each replica is of, its node, and its process."""
    for process in instance.processes():
        with suppress(psutil.Error):
            title = _REPLICA.match(" ".join(process.cmdline()))
            raylet = process.parent()
            if title and raylet and raylet.name() == "raylet":
                yield title[1], node_of(raylet), process


def placement(instance: Instance) -> Counter[tuple[str, str]]:
    """How many replicas of what run on which node."""
    return Counter((what, node) for what, node, _ in replicas_on_nodes(instance))


def node_of(raylet: psutil.Process) -> str:
    """The node's name, which is a resource of it; the head has none."""
    resources = next(part for part in raylet.cmdline() if "static_resource_list" in part)
    return next((name for name in ("first", "second", "big") if f"{name}," in resources), "head")


async def until(look: Callable[[], Any], expected: Any) -> None:
    """Looks until it sees what is expected."""
    for _ in range(_LOOKS):
        if look() == expected:
            return
        await asyncio.sleep(0.5)
    assert look() == expected


async def test_replicas_run_where_their_resources_are_and_all_of_them_answer(
    instance: Instance,
) -> None:
    # When both tiers run
    expected = {("tier-small", "first"): 2, ("tier-large", "big"): 1, ("router", "head"): 1}
    await until(lambda: placement(instance), expected)
    # Then each replica lies on a node of its tier, and is reached from the router on the head
    async with httpx.AsyncClient(base_url=instance.address, timeout=60.0) as http:
        asked = [http.post("/v1/chat/completions", json=a_body(model=model, max_tokens=8))
                 for model in ("small", "large") * 12]  # fmt: skip
        answers = [answer.json() for answer in await asyncio.gather(*asked)]
    replicas = {(answer["model"], answer["system_fingerprint"]) for answer in answers}
    assert Counter(model for model, _ in replicas) == {"small": 2, "large": 1}


def test_each_replica_has_the_model_cache_of_its_own_node(instance: Instance) -> None:
    tiers = [found for found in replicas_on_nodes(instance) if found[0] != "router"]

    caches = {node: Path(process.environ()["TANDEM_STORE_CACHE"]) for _, node, process in tiers}

    assert {node: cache.name for node, cache in caches.items()} == {
        "first": "first-cache", "big": "big-cache",
    }  # fmt: skip


async def test_a_node_joins_and_another_dies_under_load_and_no_request_fails(
    instance: Instance, nodes_file: Path
) -> None:
    # Given callers who keep asking
    statuses: Counter[int] = Counter()
    is_over = asyncio.Event()

    async def call(http: httpx.AsyncClient) -> None:
        while not is_over.is_set():
            answer = await http.post("/v1/chat/completions", json=a_body(model="small"))
            statuses[answer.status_code] += 1

    async with (
        httpx.AsyncClient(base_url=instance.address, timeout=_PATIENCE_S) as http,
        asyncio.TaskGroup() as callers,
    ):
        for _ in range(4):
            callers.create_task(call(http))
        # When a node is added, and the one that all of them are served by dies
        both = {"first": _SMALL_NODE, "second": _SMALL_NODE, "big": _LARGE_NODE}
        nodes.ask_for(nodes_file, both)
        await until(lambda: num_raylets(instance), 4)
        nodes.ask_for(nodes_file, {"second": _SMALL_NODE, "big": _LARGE_NODE})
        # Then the replicas come back on the new node, and everybody was answered
        moved = {("tier-small", "second"): 2, ("tier-large", "big"): 1, ("router", "head"): 1}
        await until(lambda: placement(instance), moved)
        is_over.set()
    assert statuses.keys() == {200}


def num_raylets(instance: Instance) -> int:
    return sum(process.name() == "raylet" for process in instance.processes())
