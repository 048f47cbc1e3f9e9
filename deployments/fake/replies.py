"""The fake's words `word1 word2 word3 ...` in OpenAI's formats. Lengths in, bytes out."""

import time
from typing import Any

import orjson

from deployments.fake.asked import num_said
from deployments.messages import EngineCall


def whole_reply(
    call: EngineCall, model_id: str, replica: str, prompt_tokens: int, output_tokens: int
) -> bytes:
    """The body of an unstreamed reply."""
    said = num_said(call)
    text = "".join(word(said + index) for index in range(output_tokens))
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
    if call["endpoint"] == "chat":
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    usage = _usage(prompt_tokens, output_tokens)
    return orjson.dumps(
        envelope(call, model_id, replica, "") | {"choices": [choice], "usage": usage}
    )


def envelope(
    call: EngineCall, model_id: str, replica: str, suffix: str = ".chunk"
) -> dict[str, Any]:
    """The outer fields of the format; the fingerprint names the replica that answered.

    Args:
        model_id: when the call names no model. suffix: of the kind of a chat's reply.
    """
    is_chat = call["endpoint"] == "chat"
    kind = f"chat.completion{suffix}" if is_chat else "text_completion"
    prefix = "chatcmpl" if is_chat else "cmpl"
    return {
        "id": f"{prefix}-{call['request_id']}", "object": kind, "created": int(time.time()),
        "model": call["body"].get("model", model_id), "system_fingerprint": replica,
    }  # fmt: skip


def chunk(call: EngineCall, outer: dict[str, Any], text: str, finish: str | None) -> bytes:
    """The event of one word. outer: as `envelope` makes it."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if call["endpoint"] == "chat":
        choice["delta"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    return _event(outer | {"choices": [choice]})


def usage_chunk(outer: dict[str, Any], prompt_tokens: int, output_tokens: int) -> bytes:
    usage = _usage(prompt_tokens, output_tokens)
    return _event(outer | {"choices": [], "usage": usage})


def word(index: int) -> str:
    """With its space in front, as tokens have it."""
    return f" word{index + 1}" if index else "word1"


def _usage(prompt_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
    }


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"
