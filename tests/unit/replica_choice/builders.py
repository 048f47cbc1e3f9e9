"""Choosers, calls and reports to choose replicas with."""

import random
from collections import Counter

from deployments.messages import EngineCall, Load
from serve_app.replica_choice.chooser import Call, ReplicaChooser

REPLICAS = ("a", "b", "c")


def a_chooser(slots: int = 1, seed: int = 0, affinity_bound_s: float = 1.0) -> ReplicaChooser:
    return ReplicaChooser(slots, random.Random(seed), affinity_bound_s=affinity_bound_s)


def a_call(request_id: str = "r", work_s: float = 1.0, session_id: str | None = None) -> Call:
    return Call(request_id, work_s, session_id)


def a_load(replica: str, work_s: float) -> Load:
    return {
        "replica": replica, "running": 1, "waiting": 0, "queued_tokens": 0, "kv_usage": 0.1,
        "work_s": work_s,
    }  # fmt: skip


def an_engine_call(**changes: object) -> EngineCall:
    body: dict[str, object] = {"messages": [{"role": "user", "content": "Hello"}]}
    call: EngineCall = {
        "endpoint": "chat", "request_id": "r", "body": body | changes, "priority": 0, "headers": {},
    }  # fmt: skip
    return call


def firsts(chooser: ReplicaChooser, now: float, call: Call | None = None) -> Counter[str]:
    """How often each replica is the first choice in 100 draws."""
    asked = call or a_call("asked")
    return Counter(chooser.choose(REPLICAS, asked, now)[0] for _ in range(100))


def delay_on(chooser: ReplicaChooser, replica: str, now: float) -> float:
    """Seconds until a slot is free; of one slot, so all the work there is."""
    return chooser.delay_s(replica, 0.0, now)
