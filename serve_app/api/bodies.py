"""An HTTP body becomes an Ask. Bytes and headers in, Ask out; refuses what no engine could take.

Only what routing needs is looked at. Everything else passes to vLLM, which knows its own
parameters and validates them.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from deployments.messages import Endpoint
from serve_app.api.slo import Objective, resolve, tightened
from serve_app.asks import Ask
from serve_app.config import AppConfig
from serve_app.errors import InvalidRequest, MalformedJson, UnknownModel

# Ray answers its own plain-text 408 at the full timeout; ours comes first, in OpenAI's form.
_BEFORE_RAYS_TIMEOUT_S = 0.02
_LONGEST_ID = 128
_FLEX_PRIORITY = 2**53
# OpenAI's and vLLM's default for /v1/completions.
_COMPLETIONS_MAX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Parsed:
    """An ask and what its answer needs. wants_usage: the stream ends with token counts."""

    ask: Ask
    objective: Objective
    service_tier: str | None


def parse_json(raw: bytes) -> dict[str, Any]:
    """The body as a dict.

    Raises:
        MalformedJson: names line and column. InvalidRequest: it is JSON but no object.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as err:
        raise MalformedJson(
            f"The body is not valid JSON: {err.msg} at line {err.lineno}, column {err.colno}."
        ) from err
    if not isinstance(body, dict):
        raise InvalidRequest(f"The body must be a JSON object, got {type(body).__name__}.")
    return body


def parse_ask(
    endpoint: Endpoint,
    body: dict[str, Any],
    headers: Mapping[str, str],
    config: AppConfig,
    *,
    arrived_at_s: float,
) -> Parsed:
    """Reads what routing needs and removes what the engine must not see.

    Raises:
        InvalidRequest: a field is missing or has a wrong type. UnknownModel: no such tier or class.
    """
    _require_prompt(endpoint, body)
    pinned, class_name = _model(body.pop("model", "auto"), config)
    is_streamed = _boolean(body, "stream")
    objective = resolve(body.pop("slo", None), headers, class_name, config, is_streamed=is_streamed)
    objective = tightened(objective, by_s=_BEFORE_RAYS_TIMEOUT_S)
    service_tier = body.pop("service_tier", None)
    ask = Ask(
        request_id=_request_id(headers),
        endpoint=endpoint,
        body=body,
        slo=objective.slo,
        arrived_at_s=arrived_at_s,
        deadline_s=objective.deadline_s,
        pinned_tier=pinned,
        max_tokens=_max_tokens(endpoint, body),
        min_tokens=_integer(body, "min_tokens", minimum=0) or 0,
        expected_output_tokens=objective.expected_output_tokens,
        sequences=_integer(body, "n", minimum=1) or 1,
        is_length_fixed=_boolean(body, "ignore_eos"),
        is_streamed=is_streamed,
        task=_task(headers, config),
        slo_class=objective.slo_class,
        max_share=objective.max_share,
        is_returning=_is_returning(headers),
        session_id=headers.get("x-session-id", "")[:_LONGEST_ID] or None,
        priority=_priority(body.pop("priority", None), service_tier),
        trace_headers={k: headers[k] for k in ("traceparent", "tracestate") if k in headers},
    )
    return Parsed(ask, objective, _served_tier(service_tier))


def _model(name: Any, config: AppConfig) -> tuple[str | None, str | None]:
    """(pinned tier, SLO class) that a model name stands for."""
    ids = [tier.model_id for tier in config.llm_configs]
    if name is None or name == "auto":
        return None, None
    if name in ids:
        return name, None
    if isinstance(name, str) and name.startswith("auto:"):
        return None, name.removeprefix("auto:")
    known = [*ids, "auto", *(f"auto:{slo_class}" for slo_class in config.slo_classes)]
    raise UnknownModel(
        f"The model {name!r} does not exist. The models are {', '.join(known)}.", param="model"
    )


def _require_prompt(endpoint: Endpoint, body: dict[str, Any]) -> None:
    if endpoint == "completions":
        prompt = body.get("prompt")
        if not isinstance(prompt, str | list) or len(prompt) == 0:
            raise InvalidRequest(
                "prompt: a text, or a list of texts or token ids, is required.", param="prompt"
            )
        return
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages: a list of at least one message is required.",
                             param="messages")  # fmt: skip
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest(
                f"messages[{index}]: must be an object with a `role`, got {message!r:.80}.",
                param=f"messages[{index}]",
            )


def _max_tokens(endpoint: Endpoint, body: dict[str, Any]) -> int | None:
    asked = _integer(body, "max_completion_tokens", minimum=1)
    if asked is None:
        asked = _integer(body, "max_tokens", minimum=1)
    if asked is None and endpoint == "completions":
        return _COMPLETIONS_MAX_TOKENS
    return asked


def _integer(body: dict[str, Any], name: str, *, minimum: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise InvalidRequest(
            f"{name}: must be a whole number of at least {minimum}, got {value!r:.80}.", param=name
        )
    return value


def _boolean(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name}: must be true or false, got {value!r:.80}.", param=name)
    return value


def _priority(priority: Any, service_tier: Any) -> int | None:
    """vLLM's polarity: lower is more urgent; None lets the deadline decide."""
    if priority is not None:
        if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) >= 2**63:
            raise InvalidRequest(
                f"priority: must be a whole number, lower is more urgent, got {priority!r:.80}.",
                param="priority",
            )
        return priority
    if service_tier == "flex":
        return _FLEX_PRIORITY
    return 0 if service_tier == "priority" else None


def _served_tier(service_tier: Any) -> str | None:
    if service_tier is None:
        return None
    if service_tier not in ("auto", "default", "flex", "priority"):
        raise InvalidRequest(
            f"service_tier: must be auto, default, flex or priority, got {service_tier!r:.80}.",
            param="service_tier",
        )
    return "default" if service_tier == "auto" else str(service_tier)


def _task(headers: Mapping[str, str], config: AppConfig) -> str:
    """The task that tiers are scored for; one that no tier knows is the default."""
    task = headers.get("x-task", "default")
    known = any(task in tier.routing.quality for tier in config.llm_configs)
    return task if known else "default"


def _is_returning(headers: Mapping[str, str]) -> bool:
    """The OpenAI SDKs count their retries; they wait as long as Retry-After says."""
    return headers.get("x-stainless-retry-count", "0") not in ("", "0")


def _request_id(headers: Mapping[str, str]) -> str:
    """The caller's own id, kept to printable characters, or a new one."""
    given = headers.get("x-request-id", "")
    clean = "".join(c for c in given if c.isascii() and (c.isalnum() or c in "-_.:"))
    return clean[:_LONGEST_ID] or uuid.uuid4().hex
