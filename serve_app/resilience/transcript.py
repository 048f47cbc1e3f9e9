"""What a streamed reply has said so far, and how it is taken up where it broke off.

Server-sent events in, a continued body and rewritten events out. Knows no tier, no asyncio.
"""

from typing import Any

import orjson

from deployments.messages import Endpoint
from serve_app.asks import Ask

_DONE = b"data: [DONE]"
_FOLDED_ABOVE_BYTES = 64_000
# What a second engine could not take up in the middle, because it depends on all that was said.
_UNCONTINUABLE = (
    "tools", "functions", "logprobs", "top_logprobs", "prompt_logprobs", "structured_outputs",
    "guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_decoding_backend",
    "echo", "suffix", "best_of", "use_beam_search", "return_token_ids",
)  # fmt: skip
_SAID_IN_DELTA = frozenset({"role", "content"})


class Transcript:
    """The events of one stream as its caller saw them.

    They are kept as they came and read only when the stream breaks, or has become long.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._envelope: dict[str, Any] | None = None
        self._has_unknown_parts = False
        self._text: list[str] = []
        self._finish_reason: str | None = None
        self._repeated = ""
        self._tokens_before = 0

    @property
    def has_begun(self) -> bool:
        return self._envelope is not None or bool(self._unread)

    @property
    def is_finished(self) -> bool:
        """The reply was whole, only its end mark is missing."""
        self._read()
        return self._finish_reason is not None

    @property
    def text(self) -> str:
        self._read()
        return "".join(self._text)

    @property
    def said(self) -> str:
        """The text that another engine is shown.

        White space at its end is left to that engine to say again: templates cut it off, and
        tokens begin with it.
        """
        return self.text.rstrip()

    @property
    def is_continuable(self) -> bool:
        """Whether another engine can go on where this one stopped."""
        self._read()
        body = self.ask.body
        if self._has_unknown_parts or self.ask.sequences > 1:
            return False
        if any(body.get(name) for name in _UNCONTINUABLE):
            return False
        kind = (body.get("response_format") or {"type": "text"}).get("type")
        return kind == "text" and (
            self.ask.endpoint == "chat" or isinstance(body.get("prompt"), str)
        )

    def add(self, data: bytes) -> None:
        """Takes whole events that were passed on."""
        if not data:
            return
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > _FOLDED_ABOVE_BYTES:
            self._read()

    def continued_body(self, output_tokens: int) -> dict[str, Any]:
        """The ask's body with the text so far, for an engine that is to go on from there.

        Args:
            output_tokens: what the text so far has used up of `max_tokens` and `min_tokens`.
        """
        self._tokens_before = output_tokens
        said = self.said
        self._repeated = self.text[len(said) :]
        body = dict(self.ask.body)
        for name in ("max_tokens", "max_completion_tokens", "min_tokens"):
            if isinstance(body.get(name), int):
                body[name] = max(0 if name == "min_tokens" else 1, body[name] - output_tokens)
        if not said:
            return body
        return body | _with_text(self.ask.endpoint, body, said)

    def continued(self, data: bytes) -> bytes:
        """Events of the engine that goes on, as part of the stream that its caller is reading."""
        events = (event for event in data.split(b"\n\n") if event.strip())
        return b"".join(self._continued_event(event) for event in events)

    def ending(self, prompt_tokens: int, output_tokens: int, finish_reason: str | None) -> bytes:
        """What a whole reply still lacks: finish reason, counts if asked for, end mark.

        Args:
            finish_reason: None when the caller has been told.
        """
        events = []
        envelope = self._envelope or {}
        if finish_reason is not None:
            choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason}
            nothing: dict[str, Any] = {"delta": {}} if self.ask.endpoint == "chat" else {"text": ""}
            events.append(envelope | {"choices": [choice | nothing]})
        if (self.ask.body.get("stream_options") or {}).get("include_usage"):
            usage = _usage(prompt_tokens, output_tokens)
            events.append(envelope | {"choices": [], "usage": usage})
        return b"".join(map(_event, events)) + _DONE + b"\n\n"

    def _continued_event(self, event: bytes) -> bytes:
        payload = event.removeprefix(b"data: ")
        if event.startswith(_DONE) or not event.startswith(b"data: "):
            return event + b"\n\n"
        chunk = orjson.loads(payload)
        if self._envelope is not None:
            kept = self._envelope.keys() & {"id", "created"}
            chunk |= {name: self._envelope[name] for name in kept}
        if chunk.get("usage"):
            usage = chunk["usage"]
            before = self._tokens_before
            prompt, output = usage["prompt_tokens"] - before, usage["completion_tokens"] + before
            chunk["usage"] = usage | _usage(prompt, output)
        for choice in chunk["choices"]:
            if not self._is_said(choice):
                return b""
        return _event(chunk)

    def _is_said(self, choice: dict[str, Any]) -> bool:
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

    def _read(self) -> None:
        unread, self._unread, self._unread_bytes = self._unread, [], 0
        for event in b"".join(unread).split(b"\n\n"):
            if event.startswith(b"data: {"):
                self._read_chunk(orjson.loads(event.removeprefix(b"data: ")))

    def _read_chunk(self, chunk: dict[str, Any]) -> None:
        if self._envelope is None:
            outer = ("id", "object", "created", "model", "system_fingerprint")
            self._envelope = {name: chunk[name] for name in outer if name in chunk}
        for choice in chunk.get("choices", []):
            delta = choice.get("delta", {})
            self._has_unknown_parts |= any(
                value for name, value in delta.items() if name not in _SAID_IN_DELTA
            )
            self._text.append(delta.get("content") or choice.get("text") or "")
            self._finish_reason = choice.get("finish_reason") or self._finish_reason


def _with_text(endpoint: Endpoint, body: dict[str, Any], said: str) -> dict[str, Any]:
    if endpoint == "completions":
        return {"prompt": body["prompt"] + said}
    messages = list(body["messages"])
    if body.get("continue_final_message") and messages[-1].get("role") == "assistant":
        # The caller's own beginning of the reply, which this one went on from.
        said = str(messages.pop().get("content") or "") + said
    return {
        "messages": [*messages, {"role": "assistant", "content": said}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def _shared_prefix(one: str, other: str) -> int:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length


def _usage(prompt_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
    }


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"
