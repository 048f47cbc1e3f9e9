"""A script: as `serve_app.serve_run`, on as many Ray nodes as a file asks for.

The file that NODES_FILE names holds {node: resources} as JSON, and may be replaced at any time: new
nodes are then added, and those that are no longer there die at once, as a spot machine does.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import ray
from ray.cluster_utils import Cluster

NODES_FILE = "NODES_FILE"
_POLL_S = 0.2


def ask_for(file: Path, nodes: dict[str, dict[str, int]]) -> None:
    """Replaces the file as a whole."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(nodes))
    os.replace(new, file)


@contextmanager
def nodes_of_file() -> Iterator[None]:
    """A head without resources of ours, where the routers run, and the nodes of the file."""
    cluster = Cluster(
        initialize_head=True,
        # Its handler of signals could not be set where nodes are added: outside the main thread.
        shutdown_at_exit=False,
        head_node_args={"num_cpus": 2, "include_dashboard": False},
    )
    file, nodes, is_over = Path(os.environ[NODES_FILE]), dict[str, Any](), Event()
    _follow(cluster, nodes, file)
    ray.init(address=cluster.address, namespace="serve")

    def keep() -> None:
        while not is_over.wait(_POLL_S):
            _follow(cluster, nodes, file)

    keeper = Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        is_over.set()
        keeper.join()
        ray.shutdown()
        cluster.shutdown()


def _follow(cluster: Cluster, nodes: dict[str, Any], file: Path) -> None:
    wanted = json.loads(file.read_text())
    for name in wanted.keys() - nodes.keys():
        variables = {"TANDEM_STORE_CACHE": f"{file.parent}/{name}-cache"}
        nodes[name] = cluster.add_node(
            num_cpus=0, resources=wanted[name] | {name: 1}, env_vars=variables
        )
    for name in nodes.keys() - wanted.keys():
        cluster.remove_node(nodes.pop(name), allow_graceful=False)


if __name__ == "__main__":
    # Not above: tests import this file, and Ray Serve warns when it is imported.
    from serve_app.serve_run import main

    main(sys.argv[1], nodes_of_file)
