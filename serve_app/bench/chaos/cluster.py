"""A script: as `serve_app.serve_run`, with further Ray nodes on this machine.

Each is a raylet of its own, so that one can be lost. A node that died is replaced after a while,
as an autoscaler would.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import ray

from serve_app.bench.chaos.scenario import ROOM_PER_NODE, ROUTER_RESOURCE, TIER_RESOURCE
from serve_app.serve_run import main

_NUM_NODES = 3
_REPLACED_AFTER_S = 3.0
_POLL_S = 0.5
# Several raylets of one machine must not hand out the same ports.
_START = (
    "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus", "2",
    "--min-worker-port", "0", "--max-worker-port", "0", "--object-store-memory", "150000000",
)  # fmt: skip


@contextmanager
def several_nodes() -> Iterator[None]:
    """A head for the routers, and nodes for the tiers."""
    ray.init(
        address="local", namespace="serve", include_dashboard=False,
        resources={ROUTER_RESOURCE: ROOM_PER_NODE},
    )  # fmt: skip
    address, is_over = ray.get_runtime_context().gcs_address, Event()
    keepers = [Thread(target=_keep, args=(address, is_over)) for _ in range(_NUM_NODES)]
    for keeper in keepers:
        keeper.start()
        # One after the other: two that start together take the same names for their sockets.
        while sum(node["Alive"] for node in ray.nodes()) <= keepers.index(keeper) + 1:
            time.sleep(_POLL_S)
    try:
        yield
    finally:
        is_over.set()
        for keeper in keepers:
            keeper.join()


def _keep(address: str, is_over: Event) -> None:
    """Runs a node, and another one whenever it dies."""
    room = json.dumps({TIER_RESOURCE: ROOM_PER_NODE})
    command = [sys.executable, *_START, "--address", address, "--resources", room]
    while not is_over.is_set():
        node = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while node.poll() is None:
            if is_over.wait(_POLL_S):
                node.terminate()
                node.wait()
                return
        is_over.wait(_REPLACED_AFTER_S)


if __name__ == "__main__":
    main(sys.argv[1], several_nodes)
