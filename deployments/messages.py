"""What crosses the handle between router and tier: plain dicts and bytes, typed here.

Plain, so that the router never imports vLLM and a router of one version can talk to a tier of
the next. A unary call answers one `Reply`. A streamed call yields one `Head`, then bytes of
whole server-sent events, then one `Tail`; an engine that refuses yields a single `Reply`, and so
does one that fails in the middle of a stream.
"""

from typing import Literal, NotRequired, TypedDict

Endpoint = Literal["chat", "completions"]

# `error.code` of a Reply whose engine is gone although its replica still answers.
# `error.actor_id` says which replica, as Ray names it when that is gone too.
ENGINE_DEAD = "engine_dead"


class Load(TypedDict):
    """One replica's load, as it was when the message left.

    running, waiting: requests in decode and requests not yet scheduled. queued_tokens: prompt
    tokens of requests whose prefill is not done. kv_usage: share of KV blocks in use, 0 to 1.
    work_s: predicted work left in all calls it holds, whichever router sent them.
    prefix_hit_rate: share of prompt tokens that the prefix cache held lately, 0 to 1.
    """

    replica: str
    running: int
    waiting: int
    queued_tokens: int
    kv_usage: float
    work_s: NotRequired[float]
    prefix_hit_rate: NotRequired[float]


class EngineCall(TypedDict):
    """One request to a tier.

    body: an OpenAI body with `model` set to the tier's id and our own fields removed. priority:
    vLLM's polarity, lower is more urgent. headers: only `traceparent`/`tracestate`, lower case.
    work_s: predicted prefill and decode of the whole reply, without any waiting; see
    `work.predicted_work_s` for when it is absent. session_id: calls of one session share a prefix.
    expires_at_s: Unix time after which nobody waits for it any more. patience_s: silence after
    which the router takes the replica for stalled and goes elsewhere.
    """

    endpoint: Endpoint
    request_id: str
    body: dict[str, object]
    priority: int
    headers: dict[str, str]
    work_s: NotRequired[float]
    session_id: NotRequired[str]
    expires_at_s: NotRequired[float]
    patience_s: NotRequired[float]


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
