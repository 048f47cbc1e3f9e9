"""A script: as `serve_app.serve_run`, with further Ray nodes on this machine.

Each is a raylet of its own, so that one can be lost. A node that died is replaced after a while,
as an autoscaler would.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import ray
from ray.cluster_utils import Cluster

from serve_app.serve_run import main

# What each tier's replica needs one of, and only the further nodes have.
RESOURCE = "tandem_tier"
_NUM_NODES = 2
_ROOM_PER_NODE = 4
_REPLACED_AFTER_S = 3.0
_POLL_S = 0.5


@contextmanager
def several_nodes() -> Iterator[None]:
    """A head for the routers, and nodes for the tiers."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    nodes = [_add(cluster) for _ in range(_NUM_NODES)]
    ray.init(address=cluster.address, namespace="serve")
    is_over = Event()
    keeper = Thread(target=_keep, args=(cluster, nodes, is_over), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        is_over.set()
        keeper.join()
        ray.shutdown()
        cluster.shutdown()


def _add(cluster: Cluster) -> Any:
    return cluster.add_node(num_cpus=2, resources={RESOURCE: _ROOM_PER_NODE})


def _keep(cluster: Cluster, nodes: list[Any], is_over: Event) -> None:
    while not is_over.wait(_POLL_S):
        for index, node in enumerate(nodes):
            if node.remaining_processes_alive():
                continue
            time.sleep(_REPLACED_AFTER_S)
            cluster.remove_node(node, allow_graceful=False)
            nodes[index] = _add(cluster)


if __name__ == "__main__":
    main(sys.argv[1], several_nodes)
