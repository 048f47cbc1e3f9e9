"""This application's routers, all told at once of what must not wait for each to find out."""

import asyncio
import logging
from collections.abc import Collection

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

log = logging.getLogger("ray.serve.tandem")

# The caller of a request in quarantine waits for it.
_PATIENCE_S = 1.0


class FellowRouters:
    """Calls every router's replica, this one among them.

    Args:
        routers: the ingress deployment itself.
    """

    def __init__(self, routers: DeploymentHandle) -> None:
        self._routers = routers

    async def died(self, content: str, replicas: Collection[str]) -> None:
        """Says which engines died of a content; who does not hear of it finds out by himself."""
        told = self._routers.broadcast("died", content, sorted(replicas))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await told.results_async(return_exceptions=True)
        except (TimeoutError, RayError, RayServeException) as err:
            log.warning("The other routers could not be told of a deadly request: %r", err)
