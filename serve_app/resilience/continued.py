"""One part of a streamed reply: the first, or one that goes on where an engine failed."""

from dataclasses import replace
from typing import Protocol

from deployments.messages import Usage
from serve_app.asks import Ask
from serve_app.resilience.join import Join, as_usage, ending
from serve_app.resilience.transcript import Transcript


class Encoder(Protocol):
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def count(self, body: dict[str, object]) -> int: ...


class Continued:
    """What to ask of the next engine and how its events join those before.

    ask: the caller's, or in later parts the one with the text so far.
    missing: the end of a reply that needs no engine any more; None while it does.
    """

    def __init__(
        self,
        ask: Ask,
        transcript: Transcript,
        *,
        tokens_before: int = 0,
        join: Join | None = None,
        missing: bytes | None = None,
    ) -> None:
        self.ask = ask
        self._transcript = transcript
        self._tokens_before = tokens_before
        self._join = join
        self.missing = missing

    @property
    def is_later(self) -> bool:
        return self._join is not None

    @property
    def can_follow(self) -> bool:
        """Nothing was said yet, or what was said can be gone on with."""
        return not self._transcript.has_begun or self._transcript.is_continuable

    def passed(self, data: bytes) -> bytes:
        """Events as the caller gets them."""
        if self._join is not None:
            data = self._join.events(data)
        self._transcript.add(data)
        return data

    def usage(self, usage: Usage | None) -> Usage | None:
        """Counts of the whole reply, of the engine's counts of this part."""
        if usage is None or not self._tokens_before:
            return usage
        before = self._tokens_before
        return {
            "prompt_tokens": usage["prompt_tokens"] - before,
            "completion_tokens": usage["completion_tokens"] + before,
        }

    def following(self, encoder: Encoder) -> "Continued":
        """The next part.

        Args:
            encoder: of the tier that said what was said so far.
        """
        transcript = self._transcript
        if not transcript.has_begun:
            return self
        original = transcript.ask
        tokens = len(encoder.encode(transcript.said, add_special_tokens=False))
        left = None if original.max_tokens is None else original.max_tokens - tokens
        if transcript.is_finished or (left is not None and left <= 0):
            return self._ended(encoder, tokens)
        ask = replace(
            original,
            body=transcript.continued_body(tokens),
            max_tokens=left,
            min_tokens=max(0, original.min_tokens - tokens),
        )
        repeated = transcript.text[len(transcript.said) :]
        join = Join(transcript.envelope, repeated, tokens)
        return Continued(ask, transcript, tokens_before=tokens, join=join)

    def _ended(self, encoder: Encoder, tokens: int) -> "Continued":
        """Nothing is left to be said, only the end mark."""
        transcript, ask = self._transcript, self._transcript.ask
        is_asked = bool((ask.body.get("stream_options") or {}).get("include_usage"))
        missing = ending(
            transcript.envelope,
            is_chat=ask.endpoint == "chat",
            finish_reason=None if transcript.is_finished else "length",
            usage=as_usage(encoder.count(ask.body), tokens) if is_asked else None,
        )
        return Continued(ask, transcript, missing=missing)
