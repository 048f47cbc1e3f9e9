"""What the door asks of Ray: which machines are ours, where we listen, the metrics page."""

import asyncio
import logging

import httpx
import ray
from ray.serve.context import _get_global_client

from serve_app.errors import Unavailable

log = logging.getLogger("ray.serve.tandem")

_REFRESH_S = 10.0
_METRICS_TIMEOUT_S = 5.0


class Neighbours:
    """Addresses of the cluster's machines, as a collection that stays current."""

    def __init__(self) -> None:
        self._addresses = _addresses()

    def __contains__(self, address: object) -> bool:
        return address in self._addresses

    async def watch(self) -> None:
        """Follows machines that come and go, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                self._addresses = await asyncio.to_thread(_addresses)
            except Exception:
                # Ray's head may be restarting; machines that join later must still get in.
                log.exception("The cluster's machines could not be listed; trying again.")


def listening_host() -> str | None:
    """The host that this Serve instance listens on; None when no Serve runs yet."""
    # Ray has no public way to ask for what `serve run` was told.
    client = _get_global_client(raise_if_no_controller_running=False)
    return None if client is None else str(client.http_config.host)


async def metrics_page() -> bytes:
    """Ray's Prometheus page of this machine.

    Raises:
        Unavailable: it does not answer.
    """
    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in await asyncio.to_thread(ray.nodes) if node["NodeID"] == here)
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        async with httpx.AsyncClient(timeout=_METRICS_TIMEOUT_S) as client:
            response = await client.get(url)
    except httpx.HTTPError as err:
        raise Unavailable(f"Ray's metrics agent on this machine does not answer: {err}") from err
    return response.content


def _addresses() -> frozenset[str]:
    return frozenset(str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"])
