from typing import Any

import pytest

from deployments.spec import TierSpec
from serve_app.check.cluster.fit import fit
from serve_app.check.cluster.nodes import NodeType, kuberay_nodes, launcher_nodes
from serve_app.check.cluster.prices import PRICES, costs


def a_tier(model_id: str, gpus: int, most: int, **resources: int) -> TierSpec:
    return TierSpec.model_validate({
        "model_loading_config": {"model_id": model_id},
        "engine_kwargs": {"tensor_parallel_size": gpus},
        "deployment_config": {
            "autoscaling_config": {"min_replicas": 1, "max_replicas": most},
            "ray_actor_options": {"resources": resources},
        },
    })  # fmt: skip


def a_node(name: str, most: int, instance: str | None = None, **resources: float) -> NodeType:
    return NodeType(name, ("available_node_types", name), resources, 0, most, instance=instance)


def test_a_tensor_parallel_replica_needs_one_node_that_holds_all_of_it() -> None:
    # Given four nodes of one GPU each, and a replica over two
    (tier,) = fit([a_tier("large", 2, 1)], [a_node("single", 4, CPU=8, GPU=1)], 4).tiers
    # Then it fits none, and what a node lacks is named
    assert tier.node_types == ()
    assert tier.missing == {"GPU": 1}


def test_a_large_node_holds_several_replicas() -> None:
    found = fit([a_tier("large", 2, 4)], [a_node("big", 1, CPU=96, GPU=8)], 1)

    assert found.tiers[0].num_placed == 4
    assert found.nodes_at_most == {"big": 1}


def test_a_custom_resource_must_be_on_the_node_too() -> None:
    nodes = [a_node("other", 4, CPU=8, GPU=1), a_node("a6000", 2, CPU=8, GPU=1, A6000=1)]

    (tier,) = fit([a_tier("small", 1, 4, A6000=1)], nodes, 6).tiers

    assert tier.node_types == ("a6000",)
    assert (tier.num_placed, tier.has_least) == (2, True)


def test_tiers_share_the_nodes_and_the_limit_of_workers() -> None:
    nodes = [a_node("gpu", 4, CPU=8, GPU=1)]

    found = fit([a_tier("one", 1, 2), a_tier("two", 1, 2)], nodes, max_workers=3)

    assert sum(tier.num_placed for tier in found.tiers) == 3
    assert found.nodes_at_least == {"gpu": 2}


def test_the_fallback_is_opened_only_when_spot_is_used_up() -> None:
    nodes = [a_node("spot", 2, CPU=4, GPU=1), a_node("on_demand", 2, CPU=4, GPU=1)]

    found = fit([a_tier("small", 1, 3)], nodes, 4)

    assert found.nodes_at_most == {"spot": 2, "on_demand": 1}


def test_a_bill_counts_the_nodes_that_replicas_need() -> None:
    nodes = [a_node("gpu", 4, "g6e.xlarge", CPU=4, GPU=1), a_node("odd", 1, "x9.huge", CPU=1)]

    known, unknown = costs(nodes, fit([a_tier("small", 1, 3)], nodes, 5))

    each = PRICES["g6e.xlarge"].usd_per_hour
    assert known.usd_per_hour(known.num_idle) == pytest.approx(each)
    assert known.usd_per_hour(known.num_busy) == pytest.approx(3 * each)
    assert unknown.usd_per_hour(1) is None


def test_every_price_has_a_date_and_a_source() -> None:
    for price in PRICES.values():
        assert price.as_of[:2] == "20"
        assert price.source


def test_nodes_are_read_from_a_launcher_file() -> None:
    worker: dict[str, Any] = {
        "resources": {"GPU": 1}, "max_workers": 4,
        "node_config": {"InstanceType": "g6e.xlarge",
                        "InstanceMarketOptions": {"MarketType": "spot"}},
    }  # fmt: skip
    head: dict[str, Any] = {"resources": {"CPU": 0}, "node_config": {}}
    nodes = launcher_nodes({
        "provider": {"type": "aws"}, "head_node_type": "head",
        "available_node_types": {"head": head, "worker": worker},
    })  # fmt: skip

    assert [(n.name, n.is_head, n.is_spot, n.num_at_most) for n in nodes] == [
        ("head", True, False, 1), ("worker", False, True, 4),
    ]  # fmt: skip


def test_a_pod_has_what_its_start_parameters_and_limits_say() -> None:
    container = {"resources": {"limits": {"cpu": "500m", "nvidia.com/gpu": 2}}}
    template = {"spec": {"containers": [container]}}
    group = {
        "groupName": "large", "maxReplicas": 2, "template": template,
        "rayStartParams": {"resources": '"{\\"A6000\\": 1}"'},
    }  # fmt: skip
    head = {"template": template, "rayStartParams": {"num-cpus": "0"}}
    cluster = {"headGroupSpec": head, "workerGroupSpecs": [group]}

    first, second = kuberay_nodes({"spec": {"rayClusterConfig": cluster}})

    assert first.resources["CPU"] == 0
    assert second.resources == {"CPU": 0.5, "GPU": 2, "A6000": 1}
