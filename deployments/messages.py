"""What crosses the handle between router and tier: plain dicts and bytes, typed here.

Plain, so that the router never imports vLLM and a router of one version can talk to a tier of
the next. A unary call answers one `Reply`. A streamed call yields one `Head`, then bytes of
whole server-sent events, then one `Tail`; an engine that refuses yields a single `Reply`.

Work is in predicted seconds. Router and replica count it with the same `WorkInHand`, so that the
one can take its own share out of what the other reports.
"""

import math
from typing import Literal, NotRequired, TypedDict

Endpoint = Literal["chat", "completions"]


class Load(TypedDict):
    """One replica's load, as it was when the message left.

    running, waiting: requests in decode and requests not yet scheduled. queued_tokens: prompt
    tokens of requests whose prefill is not done. kv_usage: share of KV blocks in use, 0 to 1.
    work_s: predicted work left in all calls it holds, whichever router sent them.
    """

    replica: str
    running: int
    waiting: int
    queued_tokens: int
    kv_usage: float
    work_s: NotRequired[float]


class EngineCall(TypedDict):
    """One request to a tier.

    body: an OpenAI body with `model` set to the tier's id and our own fields removed. priority:
    vLLM's polarity, lower is more urgent. headers: only `traceparent`/`tracestate`, lower case.
    work_s: predicted prefill and decode of the whole reply, without any waiting; see
    `predicted_work_s` for when it is absent. session_id: calls of one session share a prefix.
    expires_at_s: Unix time after which nobody waits for it any more.
    """

    endpoint: Endpoint
    request_id: str
    body: dict[str, object]
    priority: int
    headers: dict[str, str]
    work_s: NotRequired[float]
    session_id: NotRequired[str]
    expires_at_s: NotRequired[float]


class Usage(TypedDict):
    """Token counts of a finished reply, as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int


class Reply(TypedDict):
    """A whole reply or a refusal. body: JSON bytes in OpenAI's format; status: HTTP."""

    status: int
    body: bytes
    usage: Usage | None
    load: Load


class Head(TypedDict):
    """First message of a stream: the engine accepted the request; data: its first events."""

    status: Literal[200]
    data: bytes
    load: Load


class Tail(TypedDict):
    """Last message of a stream. usage is None when the engine ended it early."""

    data: bytes
    usage: Usage | None
    load: Load


class Profile(TypedDict):
    """Measured speed of one replica: prefill(n) = a + b n; step(B) = c + d B; all in seconds."""

    prefill_base_s: float
    prefill_per_token_s: float
    step_base_s: float
    step_per_sequence_s: float


class TierFacts(TypedDict):
    """What a tier knows about itself once its engine runs; answers `describe()`.

    tokenizer_json: the fast tokenizer's file, so the router counts with the tier's own tokenizer
    on any node. chat_template: Jinja source or None. profile: None until `measure()` was called
    once for this fingerprint, which names engine, model and machine.
    """

    model_id: str
    context_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    tokenizer_json: bytes
    chat_template: str | None
    special_tokens: dict[str, str]
    profile: Profile | None
    fingerprint: str
    engine: str
    start_s: NotRequired[float]


# For calls without a prediction: the order of magnitude of a 7B model on one GPU. Only the ratio
# between calls matters to whoever compares replicas.
_ASSUMED_STEP_S = 0.02
_ASSUMED_PREFILL_S_PER_CHARACTER = 5e-5
_UNIT_S = 1.0
# A call that outlasts its prediction is not done: replies have long tails, and what is left of
# one says little about how long it has already run.
_LEAST_SHARE_LEFT = 0.2


def predicted_work_s(call: EngineCall) -> float:
    """The call's own prediction; else by the lengths in its body; else one second."""
    work_s = call.get("work_s")
    if work_s is not None:
        return work_s
    body = call["body"]
    text = body.get("prompt") or body.get("messages") or ""
    prefill_s = len(str(text)) * _ASSUMED_PREFILL_S_PER_CHARACTER
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    decode_s = limit * _ASSUMED_STEP_S if isinstance(limit, int) else _UNIT_S
    return prefill_s + decode_s


class WorkInHand:
    """Predicted seconds left in calls that were handed over and have not finished.

    Dead-reckoned: of the oldest `slots` calls each loses a second per second, the others wait.
    `now` is monotonic seconds everywhere.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: dict[object, tuple[float, float]] = {}
        self._waiting: dict[object, float] = {}

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting)

    def add(self, key: object, work_s: float, now: float) -> None:
        if len(self._running) < self._slots:
            self._running[key] = (work_s, now)
            return
        self._waiting[key] = work_s

    def remove(self, key: object, now: float) -> None:
        """Ends a call, finished or not; the one that waited longest starts in its place."""
        self._waiting.pop(key, None)
        if self._running.pop(key, None) is None or not self._waiting:
            return
        following = next(iter(self._waiting))
        self._running[following] = (self._waiting.pop(following), now)

    def left(self, now: float) -> list[float]:
        """Seconds left of each call, those that run before those that wait."""
        running = [
            max(work_s - (now - started_s), work_s * _LEAST_SHARE_LEFT)
            for work_s, started_s in self._running.values()
        ]
        return running + list(self._waiting.values())

    def left_s(self, now: float) -> float:
        return sum(self.left(now))

    def broadcast(self, now: float) -> dict[str, float]:
        """Calls and their work, rounded down to powers of two.

        For `record_routing_stats`: Serve sends it to every router whenever it changes.
        """
        return {"calls": _floor2(len(self)), "work_s": _floor2(self.left_s(now))}


def _floor2(value: float) -> float:
    return 2.0 ** math.floor(math.log2(value)) if value >= 1.0 else 0.0
