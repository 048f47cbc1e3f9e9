"""Serve's request router for tiers: asks the chooser, and tells it what became of each call.

`RequestRouterConfig` pickles this module by value: state lives in objects and in `replies`, never
in globals here.
"""

import asyncio
import random
import time
from functools import partial
from typing import Any

from ray.serve.request_router import (
    LocalityMixin,
    MultiplexMixin,
    PendingRequest,
    ReplicaID,
    RequestRouter,
    RunningReplica,
)

from serve_app.replica_choice.adapters import AdaptersUnderway
from serve_app.replica_choice.chooser import Call, ReplicaChooser
from serve_app.replica_choice.places import places
from serve_app.replica_choice.replies import inbox


class RemainingWorkRouter(LocalityMixin, MultiplexMixin, RequestRouter):  # type: ignore[misc]
    """Sends a call to the replica that is predicted to delay it least, of two drawn at random.

    Which replicas may be drawn, full ones, retries and queueing stay Serve's. Calls that are no
    `EngineCall`, and all while nothing is known, go by request counts as Serve's default does.
    """

    def initialize_state(
        self, slots: int, affinity_bound_s: float = 1.0, cooldown_s: float = 5.0
    ) -> None:
        """Called by Serve with `request_router_kwargs`; see `ReplicaChooser` for all of them."""
        self._chooser = ReplicaChooser(
            slots, random.Random(), affinity_bound_s=affinity_bound_s, cooldown_s=cooldown_s
        )
        self._inbox = inbox(self._deployment_id.app_name, self._deployment_id.name)
        self._places = places(self._deployment_id.app_name, self._deployment_id.name)
        self._underway = AdaptersUnderway()
        # Serve names a call by an id of its own when it is completed.
        self._request_ids: dict[str, str] = {}
        self._broadcasts: dict[str, tuple[float, float]] = {}

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Ranks of replicas; Serve takes the first one that is not full."""
        by_name = {i.unique_id: self._replicas[i] for i in self._eligible(pending_request)}
        if not by_name:
            return []
        call = _call(pending_request)
        if pending_request is None or call is None:
            return [self._two(by_name)]
        now = time.monotonic()
        self._catch_up()
        ranked = self._chooser.choose(list(by_name), call, now)
        ranks = [[by_name[name]] for name in ranked] or [self._two(by_name)]
        # Now and not when it is sent: all of a burst is chosen before any of it is sent.
        self._book(ranks[0][0].replica_id.unique_id, call, pending_request, now)
        return ranks

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        adapter = pending_request.metadata.multiplexed_model_id
        if adapter:
            self._underway.sent(adapter, replica_id.unique_id, time.monotonic())
        call = _call(pending_request)
        if call is None:
            return
        self._request_ids[pending_request.metadata.internal_request_id] = call.request_id
        self._chooser.sent(replica_id.unique_id, call, time.monotonic())

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        request_id = self._request_ids.pop(internal_request_id, None)
        if request_id is not None:
            self._chooser.finished(request_id, replica_id.unique_id, time.monotonic())

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        super().on_new_queue_len_info(replica_id, num_ongoing_requests)
        self._chooser.counted(replica_id.unique_id, num_ongoing_requests, time.monotonic())

    def on_replica_actor_unavailable(self, replica_id: ReplicaID) -> None:
        super().on_replica_actor_unavailable(replica_id)
        self._chooser.rest(replica_id.unique_id, time.monotonic())

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        for replica in replicas:
            self._places.put(replica.actor_id.hex(), replica.node_id)
        self._chooser.keep({replica.replica_id.unique_id for replica in replicas})
        told = {
            replica.replica_id.unique_id: (float(stats["calls"]), float(stats["work_s"]))
            for replica in replicas
            if "work_s" in (stats := replica.routing_stats)
        }
        now = time.monotonic()
        for name, (num_calls, work_s) in told.items():
            if self._broadcasts.get(name) != (num_calls, work_s):
                self._chooser.broadcast(name, num_calls, work_s, now)
        self._broadcasts = told

    def _eligible(self, pending_request: PendingRequest | None) -> set[ReplicaID]:
        """Serve's own narrowing: by loaded adapter, else by place."""
        adapter = "" if pending_request is None else pending_request.metadata.multiplexed_model_id
        narrow = self.apply_multiplex_routing if adapter else self.apply_locality_routing
        eligible: set[ReplicaID] = narrow(pending_request=pending_request)
        if adapter and not self._multiplexed_model_id_to_replica_ids.get(adapter):
            loading = self._underway.replica_for(adapter, time.monotonic())
            return {one for one in self._replicas if one.unique_id == loading} or eligible
        return eligible

    def _two(self, by_name: dict[str, RunningReplica]) -> list[RunningReplica]:
        """One rank of two: Serve takes the one with fewer requests."""
        return random.sample(list(by_name.values()), min(2, len(by_name)))

    def _catch_up(self) -> None:
        while self._inbox:
            heard = self._inbox.popleft()
            if heard.is_failure:
                self._chooser.failed(heard.request_id, heard.at_s)
            if heard.load is None:
                continue
            if heard.is_last:
                self._chooser.finished(heard.request_id, heard.load["replica"], heard.at_s)
                if not heard.is_failure:
                    self._chooser.answered(heard.load["replica"])
            self._chooser.report(heard.load, heard.at_s)

    def _book(self, replica: str, call: Call, pending: PendingRequest, now: float) -> None:
        self._request_ids[pending.metadata.internal_request_id] = call.request_id
        self._chooser.sent(replica, call, now)
        if pending.metadata.multiplexed_model_id:
            self._underway.sent(pending.metadata.multiplexed_model_id, replica, now)
        booked = (pending.metadata.internal_request_id, call.request_id, replica)
        pending.future.add_done_callback(partial(self._unbook_if_cancelled, *booked))

    def _unbook_if_cancelled(
        self,
        internal_request_id: str,
        request_id: str,
        replica: str,
        assigned: asyncio.Future[RunningReplica],
    ) -> None:
        """A call that is cancelled before it has a replica is never said to be completed."""
        if assigned.cancelled():
            self._request_ids.pop(internal_request_id, None)
            self._chooser.finished(request_id, replica, time.monotonic())


def _call(pending_request: PendingRequest | None) -> Call | None:
    """The call inside; None for `describe` and the like, which carry none."""
    if pending_request is None or not pending_request.args:
        return None
    argument = pending_request.args[0]
    is_call = isinstance(argument, dict) and "request_id" in argument and "body" in argument
    return Call.of(argument) if is_call else None
