"""What a streamed reply has said so far, and what an engine is asked that is to go on with it.

Server-sent events in, a body out. Knows no tier, no asyncio.
"""

from typing import Any

import orjson

from deployments.messages import Endpoint
from serve_app.asks import Ask

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
    def envelope(self) -> dict[str, Any]:
        """The outer fields that all events share."""
        self._read()
        return self._envelope or {}

    @property
    def is_continuable(self) -> bool:
        """Whether another engine can go on where this one stopped."""
        self._read()
        body = self.ask.body
        if self._has_unknown_parts or self.ask.sequences > 1:
            return False
        if any(_is_asked(body.get(name)) for name in _UNCONTINUABLE):
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
        said = self.said
        body = dict(self.ask.body)
        if isinstance(body.get("min_tokens"), int):
            body["min_tokens"] = max(0, body["min_tokens"] - output_tokens)
        if self.ask.max_tokens is not None:
            # Also where the caller relied on the default, which counts from here otherwise.
            body.pop("max_completion_tokens", None)
            body["max_tokens"] = max(1, self.ask.max_tokens - output_tokens)
        if not said:
            return body
        return body | _with_text(self.ask.endpoint, body, said)

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


def _is_asked(value: Any) -> bool:
    """`logprobs: 0` asks for the chosen tokens' own."""
    return bool(value) or (isinstance(value, int) and value is not False)


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
