"""What a cluster file says of its nodes. Parsed YAML in, NodeTypes out; guesses nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.check.file.document import Path


@dataclass(frozen=True, slots=True)
class NodeType:
    """One kind of node. resources: of each, by Ray's names. instance: the cloud's name for it.

    num_at_least: how many run all the time. path: its place in the file.
    """

    name: str
    path: Path
    resources: Mapping[str, float]
    num_at_least: int
    num_at_most: int
    is_head: bool = False
    is_spot: bool = False
    instance: str | None = None


def launcher_nodes(content: Mapping[str, Any]) -> list[NodeType]:
    """Of a file for `ray up`; on your own machines from `metadata.node_resources`."""
    if content["provider"]["type"] == "local":
        return _own_machines(content)
    head = content.get("head_node_type")
    return [
        _launched(name, entry, is_head=name == head, max_workers=content.get("max_workers", 0))
        for name, entry in (content.get("available_node_types") or {}).items()
    ]


def _launched(name: str, entry: Mapping[str, Any], *, is_head: bool, max_workers: int) -> NodeType:
    config = entry.get("node_config") or {}
    market = (config.get("InstanceMarketOptions") or {}).get("MarketType")
    model = (config.get("scheduling") or {}).get("provisioningModel")
    return NodeType(
        name=name,
        path=("available_node_types", name),
        resources=entry.get("resources") or {},
        num_at_least=1 if is_head else entry.get("min_workers", 0),
        num_at_most=1 if is_head else entry.get("max_workers", max_workers),
        is_head=is_head,
        is_spot=market == "spot" or model == "SPOT",
        instance=config.get("InstanceType") or config.get("machineType"),
    )


def _own_machines(content: Mapping[str, Any]) -> list[NodeType]:
    known = (content.get("metadata") or {}).get("node_resources") or {}
    return [
        NodeType(str(ip), ("metadata", "node_resources", ip), known.get(ip) or {}, 1, 1)
        for ip in content["provider"].get("worker_ips") or []
    ]


def kuberay_nodes(content: Mapping[str, Any]) -> list[NodeType]:
    """Of a RayService: its head, and each worker group with what its containers may use."""
    cluster = content["spec"]["rayClusterConfig"]
    here: Path = ("spec", "rayClusterConfig")
    head = cluster["headGroupSpec"]
    nodes = [NodeType("head", (*here, "headGroupSpec"), _in_pod(head), 1, 1, is_head=True)]
    for index, group in enumerate(cluster.get("workerGroupSpecs") or []):
        nodes.append(
            NodeType(
                name=str(group.get("groupName")),
                path=(*here, "workerGroupSpecs", index),
                resources=_in_pod(group),
                num_at_least=group.get("minReplicas", 0),
                num_at_most=group.get("maxReplicas", group.get("replicas", 0)),
            )
        )
    return nodes


def _in_pod(group: Mapping[str, Any]) -> dict[str, float]:
    """Ray's resources of a pod: `rayStartParams` first, else the limits of its container."""
    parameters = group.get("rayStartParams") or {}
    container = group["template"]["spec"]["containers"][0]
    limits = (container.get("resources") or {}).get("limits") or {}
    found = {
        "CPU": _number(parameters.get("num-cpus", limits.get("cpu", 0))),
        "GPU": _number(parameters.get("num-gpus", limits.get("nvidia.com/gpu", 0))),
    }
    # A JSON text within quotes of its own, because a shell reads it once more.
    custom = str(parameters.get("resources", "{}")).strip("'\"").replace("\\", "")
    return found | {name: _number(amount) for name, amount in json.loads(custom).items()}


def _number(value: Any) -> float:
    """Kubernetes' `500m` is half a CPU."""
    text = str(value)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
