"""Do the tiers' replicas fit the nodes? Tiers and nodes in, Fit out; pure.

A replica's workers stay on one node (one placement group, STRICT_PACK), so a node must hold it
whole: two nodes of one GPU are no place for a tensor-parallel pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployments.spec import TierSpec
from serve_app.check.cluster.nodes import NodeType
from serve_app.check.tier.capacity import min_replicas, resources_of_replica


@dataclass(frozen=True, slots=True)
class TierFit:
    """One tier. num_placed: replicas that found a node when every tier wanted its most.

    node_types: which kinds of node hold one replica. missing: what the nearest kind lacks.
    """

    tier: str
    needs: Mapping[str, float]
    num_at_least: int
    num_at_most: int
    num_placed: int
    has_least: bool
    node_types: tuple[str, ...]
    missing: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Fit:
    """All tiers, and how many nodes of each kind run at the fewest and at the most replicas."""

    tiers: tuple[TierFit, ...]
    nodes_at_least: Mapping[str, int]
    nodes_at_most: Mapping[str, int]


@dataclass(slots=True)
class _Node:
    kind: NodeType
    free: dict[str, float]


def fit(tiers: Sequence[TierSpec], nodes: Sequence[NodeType], max_workers: int) -> Fit:
    """Places first the fewest replicas of every tier, then the most; the largest needs first."""
    real = [tier for tier in tiers if tier.fake is None]
    fewest = {tier.model_id: min_replicas(tier) for tier in real}
    least, opened_at_least = _place(real, fewest, nodes, max_workers)
    largest = {tier.model_id: max_replicas(tier) for tier in real}
    most, opened_at_most = _place(real, largest, nodes, max_workers)
    fits = tuple(
        TierFit(
            tier.model_id,
            resources_of_replica(tier),
            min_replicas(tier),
            max_replicas(tier),
            most[tier.model_id],
            least[tier.model_id] >= min_replicas(tier),
            tuple(node.name for node in nodes if _holds(node.resources, tier)),
            _missing(tier, nodes),
        )
        for tier in real
    )
    return Fit(fits, _counted(nodes, opened_at_least), _counted(nodes, opened_at_most))


def _counted(nodes: Sequence[NodeType], opened: Sequence[NodeType]) -> dict[str, int]:
    """Nodes of each kind: those that replicas need, and never fewer than always run."""
    return {node.name: max(node.num_at_least, opened.count(node)) for node in nodes}


def max_replicas(tier: TierSpec) -> int:
    """Replicas under the highest load; without autoscaling as many as always."""
    autoscaling = tier.deployment_config.get("autoscaling_config")
    if isinstance(autoscaling, dict):
        return int(autoscaling.get("max_replicas", min_replicas(tier)))
    return min_replicas(tier)


def _place(
    tiers: Sequence[TierSpec],
    wanted: Mapping[str, int],
    nodes: Sequence[NodeType],
    max_workers: int,
) -> tuple[dict[str, int], list[NodeType]]:
    """How many of the wanted replicas find a node, and the nodes that were opened for them."""
    opened: list[_Node] = []
    placed = dict.fromkeys(wanted, 0)
    for tier in sorted(tiers, key=lambda t: -resources_of_replica(t).get("GPU", 0)):
        for _ in range(wanted[tier.model_id]):
            node = _node_for(tier, nodes, opened, max_workers)
            if node is None:
                break
            for name, amount in resources_of_replica(tier).items():
                node.free[name] -= amount
            placed[tier.model_id] += 1
    return placed, [node.kind for node in opened]


def _node_for(
    tier: TierSpec, nodes: Sequence[NodeType], opened: list[_Node], max_workers: int
) -> _Node | None:
    for node in opened:
        if _holds(node.free, tier):
            return node
    for kind in nodes:
        num_opened = sum(node.kind is kind for node in opened)
        num_workers = sum(not node.kind.is_head for node in opened)
        has_room = num_opened < kind.num_at_most and (kind.is_head or num_workers < max_workers)
        if has_room and _holds(kind.resources, tier):
            opened.append(_Node(kind, dict(kind.resources)))
            return opened[-1]
    return None


def _holds(resources: Mapping[str, float], tier: TierSpec) -> bool:
    needs = resources_of_replica(tier)
    return all(resources.get(name, 0.0) + 1e-6 >= amount for name, amount in needs.items())


def _missing(tier: TierSpec, nodes: Sequence[NodeType]) -> dict[str, float]:
    """What the kind of node that lacks least lacks for one replica; empty when one fits."""
    needs = resources_of_replica(tier)
    lacks = [
        {
            name: amount - node.resources.get(name, 0.0)
            for name, amount in needs.items()
            if amount > node.resources.get(name, 0.0) + 1e-6
        }
        for node in nodes
    ]
    return min(lacks, key=len) if lacks else dict(needs)
