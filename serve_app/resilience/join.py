"""Makes the events of an engine that goes on part of the stream that another began.

Server-sent events in and out; knows no tier, no asyncio.
"""

from typing import Any

import orjson

_DONE = b"data: [DONE]"


class Join:
    """Rewrites what follows a break.

    Args:
        envelope: the outer fields of the events before. repeated: white space that was said and
            that the engine, which was not shown it, is going to say again. tokens_before: output
            tokens before the break, which the engine counts as prompt.
    """

    def __init__(self, envelope: dict[str, Any], repeated: str, tokens_before: int) -> None:
        self._kept = {name: envelope[name] for name in ("id", "created") if name in envelope}
        self._repeated = repeated
        self._tokens_before = tokens_before

    def events(self, data: bytes) -> bytes:
        """The events as the caller of the whole stream is to read them."""
        return b"".join(self._rewritten(e) for e in data.split(b"\n\n") if e.strip())

    def _rewritten(self, event: bytes) -> bytes:
        if event.startswith(_DONE) or not event.startswith(b"data: "):
            return event + b"\n\n"
        chunk = orjson.loads(event.removeprefix(b"data: ")) | self._kept
        if chunk.get("usage"):
            usage, before = chunk["usage"], self._tokens_before
            prompt, output = usage["prompt_tokens"] - before, usage["completion_tokens"] + before
            chunk["usage"] = usage | as_usage(prompt, output)
        if not all([self._has_more(choice) for choice in chunk["choices"]]):
            return b""
        return as_event(chunk)

    def _has_more(self, choice: dict[str, Any]) -> bool:
        """Takes out what the caller has already; False when nothing is left to say."""
        delta = choice.get("delta", choice)
        name = "content" if "delta" in choice else "text"
        delta.pop("role", None)
        text = delta.get(name)
        if text and self._repeated:
            shared = _shared_prefix(text, self._repeated)
            delta[name] = text[shared:]
            # Other text than before: what was said stays said, and nothing else is left out.
            self._repeated = self._repeated[shared:] if shared == len(text) else ""
        return bool(delta.get(name)) or choice.get("finish_reason") is not None


def ending(
    envelope: dict[str, Any],
    *,
    is_chat: bool,
    finish_reason: str | None,
    usage: dict[str, int] | None,
) -> bytes:
    """What a reply still lacks when all of it was said.

    Args:
        finish_reason: None when the caller has been told. usage: None when he did not ask.
    """
    events: list[dict[str, Any]] = []
    if finish_reason is not None:
        nothing: dict[str, Any] = {"delta": {}} if is_chat else {"text": ""}
        choice = {"index": 0, "finish_reason": finish_reason} | nothing
        events.append(envelope | {"choices": [choice]})
    if usage is not None:
        events.append(envelope | {"choices": [], "usage": usage})
    return b"".join(map(as_event, events)) + _DONE + b"\n\n"


def as_usage(prompt_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
    }


def as_event(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def _shared_prefix(one: str, other: str) -> int:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length
