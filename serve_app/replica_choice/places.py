"""Which node each replica is on, and whether that node still runs.

As with `replies`, Serve's request router of a deployment knows the one, and whoever calls the
deployment asks for it; the two meet by name.
"""

import asyncio

import ray

from serve_app.replica_choice.recent import Recent

# More than die together.
_MOST_KEPT = 4096
_PATIENCE_S = 1.0

Places = Recent[str, str]
_places: dict[tuple[str, str], Places] = {}


def places(app: str, deployment: str) -> Places:
    """Node ids by the replicas' actor ids, of those that died too."""
    return _places.setdefault((app, deployment), Recent(_MOST_KEPT))


async def is_node_lost(node_id: str) -> bool:
    """Whether the node went, which its raylet tells at once and Ray's head after some seconds."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            nodes = await asyncio.to_thread(ray.nodes)
    except (TimeoutError, ray.exceptions.RayError):
        return False
    node = next((node for node in nodes if node["NodeID"] == node_id), None)
    if node is None or not node["Alive"]:
        return True
    try:
        async with asyncio.timeout(_PATIENCE_S):
            _, writer = await asyncio.open_connection(
                node["NodeManagerAddress"], node["NodeManagerPort"]
            )
    except OSError:
        return True
    writer.close()
    return False
