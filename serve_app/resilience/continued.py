"""One part of a streamed reply: the first, or one that goes on where an engine failed."""

from dataclasses import replace
from typing import Protocol

from deployments.messages import Usage
from serve_app.asks import Ask
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
        is_later: bool = False,
        missing: bytes | None = None,
    ) -> None:
        self.ask = ask
        self._transcript = transcript
        self._tokens_before = tokens_before
        self.is_later = is_later
        self.missing = missing

    @property
    def can_follow(self) -> bool:
        """Nothing was said yet, or what was said can be gone on with."""
        return not self._transcript.has_begun or self._transcript.is_continuable

    def passed(self, data: bytes) -> bytes:
        """Events as the caller gets them."""
        if self.is_later:
            data = self._transcript.continued(data)
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
        if transcript.is_finished or left == 0:
            prompt_tokens = encoder.count(original.body)
            reason = None if transcript.is_finished else "length"
            ending = transcript.ending(prompt_tokens, tokens, reason)
            return Continued(original, transcript, is_later=True, missing=ending)
        ask = replace(
            original,
            body=transcript.continued_body(tokens),
            max_tokens=None if left is None else max(1, left),
            min_tokens=max(0, original.min_tokens - tokens),
        )
        return Continued(ask, transcript, tokens_before=tokens, is_later=True)
