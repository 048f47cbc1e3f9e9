"""A DeploymentHandle seen as a tier; turns Ray's errors into ours."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle

from deployments.messages import ENGINE_DEAD, EngineCall, Head, Load, Reply, Tail, TierFacts
from serve_app.errors import (
    ClientGone,
    EngineRejected,
    EngineStalled,
    ReplicaLost,
    Saturated,
    TandemError,
    TierFailed,
    Unavailable,
)
from serve_app.replica_choice.places import is_node_lost, places
from serve_app.replica_choice.replies import Heard, inbox

_RETRY_AFTER_FULL_QUEUE_S = 1.0


class HandleTier:
    """Calls one tier's replicas through Serve."""

    def __init__(self, tier: str, handle: DeploymentHandle) -> None:
        self._tier = tier
        self._complete = handle.options(method_name="complete")
        self._stream = handle.options(method_name="stream", stream=True)
        self._describe = handle.options(method_name="describe")
        self._measure = handle.options(method_name="measure")
        self._load = handle.options(method_name="load")
        self._inbox = inbox(handle.app_name, handle.deployment_name)
        self._places = places(handle.app_name, handle.deployment_name)

    async def describe(self) -> TierFacts:
        """What a running replica says of itself; waits until there is one."""
        async with self._translated():
            facts: TierFacts = await self._describe.remote()
        return facts

    async def measure(self) -> TierFacts:
        """Has a replica measure its speed, unless it is known; returns the facts with it."""
        async with self._translated():
            facts: TierFacts = await self._measure.remote()
        return facts

    async def load(self) -> Load:
        """The load of one replica, now."""
        async with self._translated():
            load: Load = await self._load.remote()
        return load

    async def complete(self, call: EngineCall) -> Reply:
        """One whole reply.

        Raises:
            EngineRejected: the engine refused or failed the request.
            Saturated: the replicas' queues are full. Unavailable: there is no replica.
            ReplicaLost: it died. EngineStalled: nothing came for the call's `patience_s`.
        """
        async with self._translated():
            response = self._for(call, self._complete).remote(call)
            try:
                async with asyncio.timeout(call.get("patience_s")):
                    reply: Reply = await response
            except BaseException as err:
                self._hear_failure(call, err)
                response.cancel()
                raise
        self._hear(call, reply)
        if reply["status"] != 200:
            raise self._rejected(reply)
        return reply

    async def stream(self, call: EngineCall) -> AsyncGenerator[Head | bytes | Tail, None]:
        """Head, events, tail; closing the iterator stops the engine. Raises as `complete`."""
        patience_s = call.get("patience_s")
        now_s = asyncio.get_running_loop().time
        async with self._translated():
            response = self._for(call, self._stream).remote(call)
            try:
                async with asyncio.timeout(patience_s) as silence:
                    async for message in response:
                        if not isinstance(message, bytes):
                            self._hear(call, message)
                            if message.get("status", 200) != 200:
                                raise self._rejected(cast(Reply, message))
                        # What the caller takes to read is not the engine's silence.
                        silence.reschedule(None)
                        yield message
                        if patience_s is not None:
                            silence.reschedule(now_s() + patience_s)
            except BaseException as err:
                self._hear_failure(call, err)
                response.cancel()
                raise

    def _for(self, call: EngineCall, method: DeploymentHandle) -> DeploymentHandle:
        """The method as Serve's multiplexing takes it: to a replica that has the adapter."""
        model = str(call["body"].get("model", self._tier))
        if model == self._tier:
            return method
        adapted: DeploymentHandle = method.options(multiplexed_model_id=model)
        return adapted

    def _hear(self, call: EngineCall, message: Head | Reply | Tail) -> None:
        """Passes the replica's load on to whoever chooses the next call's replica."""
        is_last = "usage" in message
        is_failure = message.get("status", 200) in range(500, 600)
        self._inbox.append(
            Heard(call["request_id"], message["load"], is_last, is_failure, time.monotonic())
        )

    def _hear_failure(self, call: EngineCall, err: BaseException) -> None:
        """A replica that raised or fell silent is broken; one that died, Serve drops by itself."""
        if isinstance(err, RayTaskError | TimeoutError):
            self._inbox.append(Heard(call["request_id"], None, True, True, time.monotonic()))

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except BackPressureError as err:
            raise Saturated(
                f"Tier {self._tier!r} has a full queue. Retry later.",
                retry_after_s=_RETRY_AFTER_FULL_QUEUE_S,
            ) from err
        except (RequestCancelledError, TaskCancelledError) as err:
            raise ClientGone("The request was cancelled before it was answered.") from err
        except TimeoutError as err:
            raise EngineStalled(f"Tier {self._tier!r} has fallen silent. Retry later.") from err
        except RayActorError as err:
            # Over gRPC, which high throughput brings, a death is an ActorUnavailableError, one of
            # these too. A call that no replica had accepted Serve itself sends again.
            actor_id = str(err.actor_id)
            node_id = self._places.get(actor_id)
            with_node = node_id is not None and await is_node_lost(node_id)
            raise self._lost(actor_id, with_node=with_node) from err
        except DeploymentUnavailableError as err:
            raise Unavailable(f"Tier {self._tier!r} has no replica. Retry later.") from err
        except RayTaskError as err:
            raise TierFailed(
                f"Tier {self._tier!r} failed on this request; its log has the cause."
            ) from err
        except RayError as err:
            raise Unavailable(f"Tier {self._tier!r} cannot be reached: {err}") from err

    def _rejected(self, reply: Reply) -> TandemError:
        """The engine's own OpenAI error body, as our error."""
        error = orjson.loads(reply["body"]).get("error", {})
        if error.get("code") == ENGINE_DEAD:
            return self._lost(error["actor_id"])
        return _engine_rejected(reply["status"], error)

    def _lost(self, replica: str, *, with_node: bool = False) -> ReplicaLost:
        message = f"Tier {self._tier!r} lost the replica that had this request. Retry it."
        return ReplicaLost(message, replica=replica, with_node=with_node)


def _engine_rejected(status: int, error: dict[str, Any]) -> EngineRejected:
    code = error.get("code")
    return EngineRejected(
        str(error.get("message", "The engine refused the request.")),
        status=status,
        param=error.get("param"),
        code=code if isinstance(code, str) else None,
    )
