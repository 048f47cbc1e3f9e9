"""An HTTP body becomes an Ask. Bytes and headers in, Ask out; refuses what no engine could take.

What routing needs is read, and what could harm or exhaust is refused. Everything else passes to
vLLM, which knows its own parameters and validates them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from deployments.messages import Endpoint
from serve_app.access.keys.key import Key
from serve_app.access.rights import require_class, require_model
from serve_app.access.settings import InputConfig
from serve_app.api.parsing.contents.messages import require_messages
from serve_app.api.parsing.contents.prompts import num_prompts, require_prompt
from serve_app.api.parsing.contents.sampling import require_sampling
from serve_app.api.parsing.contents.shape import require_shape
from serve_app.api.parsing.contents.structure import require_structure
from serve_app.api.parsing.fields import boolean, integer, invalid
from serve_app.api.parsing.headers import printable, request_id, trace_headers
from serve_app.api.parsing.model_names import read_model_name
from serve_app.api.parsing.slo import Objective, resolve, tightened
from serve_app.asks import Ask
from serve_app.config import AppConfig
from serve_app.errors import InvalidRequest, MalformedJson

# Ray answers its own plain-text 408 at the full timeout; ours comes first, in OpenAI's form.
_BEFORE_RAYS_TIMEOUT_S = 0.02
_FLEX_PRIORITY = 2**53
# OpenAI's and vLLM's default for /v1/completions.
_COMPLETIONS_MAX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Parsed:
    """An ask and what its answer needs."""

    ask: Ask
    objective: Objective
    service_tier: str | None


def parse_json(raw: bytes, limits: InputConfig) -> dict[str, Any]:
    """The body as a dict.

    Raises:
        MalformedJson: names line and column. InvalidRequest: no object, or too deep or too large.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as err:
        raise MalformedJson(
            f"The body is not valid JSON: {err.msg} at line {err.lineno}, column {err.colno}."
        ) from err
    if not isinstance(body, dict):
        raise InvalidRequest(f"The body must be a JSON object, got {type(body).__name__}.")
    require_shape(body, limits)
    return body


def parse_ask(
    endpoint: Endpoint,
    body: dict[str, Any],
    headers: Mapping[str, str],
    config: AppConfig,
    *,
    arrived_at_s: float,
    key: Key | None = None,
) -> Parsed:
    """Reads what routing needs and removes what the engine must not see.

    Args:
        key: the caller's; None where no keys are asked for.

    Raises:
        InvalidRequest: a field is missing or has a wrong type. UnknownModel: no such tier or class.
        NotPermitted: the key does not allow it.
    """
    # To OpenAI null is as good as nothing; to vLLM it is sometimes a value.
    body = {name: value for name, value in body.items() if value is not None}
    _require_sane(endpoint, body, config.input)
    model, asked_slo = body.pop("model", None), body.pop("slo", None)
    if key is not None:
        # First: whether there is what it may not use, it need not know.
        require_model(key, model or "auto")
        require_class(key, None, "body" if _is_objective(asked_slo) else "none")
    named = read_model_name(model, config)
    is_streamed = boolean(body, "stream")
    objective = resolve(
        asked_slo, headers, named.slo_class, config, is_streamed=is_streamed,
        default_class=key.default_slo_class if key else None,
    )  # fmt: skip
    if key is not None:
        require_class(key, objective.slo_class, objective.slo.source)
    objective = tightened(objective, by_s=_BEFORE_RAYS_TIMEOUT_S)
    service_tier = body.pop("service_tier", None)
    ask = Ask(
        request_id=request_id(headers),
        endpoint=endpoint,
        body=body,
        slo=objective.slo,
        arrived_at_s=arrived_at_s,
        deadline_s=objective.deadline_s,
        pinned_tier=named.pinned_tier,
        adapter=named.adapter,
        tiers=named.tiers,
        max_tokens=_max_tokens(body, config.input.max_output_tokens),
        min_tokens=integer(body, "min_tokens", minimum=0, maximum=config.input.max_output_tokens)
        or 0,
        expected_output_tokens=objective.expected_output_tokens,
        sequences=_sequences(endpoint, body, config.input),
        is_length_fixed=boolean(body, "ignore_eos"),
        is_streamed=is_streamed,
        task=_task(headers, config),
        slo_class=objective.slo_class,
        max_share=objective.max_share,
        is_returning=_is_returning(headers),
        session_id=printable(headers.get("x-session-id", "")) or None,
        priority=_priority(body.pop("priority", None), service_tier),
        trace_headers=trace_headers(headers),
    )
    return Parsed(ask, objective, _served_tier(service_tier))


def _require_sane(endpoint: Endpoint, body: dict[str, Any], limits: InputConfig) -> None:
    # What belongs to the other endpoint is not looked at, so it must not be counted or sent on.
    if endpoint == "completions":
        body.pop("messages", None)
        # vLLM knows only the older name here, and another default.
        body.pop("max_completion_tokens", None)
        body.setdefault("max_tokens", _COMPLETIONS_MAX_TOKENS)
        require_prompt(body, limits)
    else:
        body.pop("prompt", None)
        require_messages(body, limits)
    require_sampling(body, limits)
    require_structure(body, limits)


def _is_objective(asked_slo: Any) -> bool:
    """Whether a body's `slo` asks for more than it tells of the reply's length."""
    fields = set(asked_slo) if isinstance(asked_slo, dict) else set()
    return bool(fields - {"expected_output_tokens"})


def _max_tokens(body: dict[str, Any], most: int) -> int | None:
    older = integer(body, "max_tokens", minimum=1, maximum=most)
    asked = integer(body, "max_completion_tokens", minimum=1, maximum=most)
    return older if asked is None else asked


def _sequences(endpoint: Endpoint, body: dict[str, Any], limits: InputConfig) -> int:
    """Replies in all: `n` to every prompt."""
    each = integer(body, "n", minimum=1, maximum=limits.max_n) or 1
    return each * (num_prompts(body["prompt"]) if endpoint == "completions" else 1)


def _priority(priority: Any, service_tier: Any) -> int | None:
    """vLLM's polarity: lower is more urgent; None lets the deadline decide."""
    if priority is not None:
        if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) >= 2**63:
            raise invalid("priority", "a whole number, lower is more urgent", priority)
        return priority
    if service_tier == "flex":
        return _FLEX_PRIORITY
    return 0 if service_tier == "priority" else None


def _served_tier(service_tier: Any) -> str | None:
    if service_tier is None:
        return None
    if service_tier not in ("auto", "default", "flex", "priority"):
        raise invalid("service_tier", "auto, default, flex or priority", service_tier)
    return "default" if service_tier == "auto" else str(service_tier)


def _task(headers: Mapping[str, str], config: AppConfig) -> str:
    """The task that tiers are scored for; one that no tier knows is the default."""
    task = headers.get("x-task", "default")
    known = any(task in tier.routing.quality for tier in config.llm_configs)
    return task if known else "default"


def _is_returning(headers: Mapping[str, str]) -> bool:
    """The OpenAI SDKs count their retries; they wait as long as Retry-After says."""
    return headers.get("x-stainless-retry-count", "0") not in ("", "0")
