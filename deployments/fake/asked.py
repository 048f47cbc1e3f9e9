"""What a call asks of the fake: how long a reply, which fault. Calls in, numbers out."""

from typing import Any

from tokenizers import Tokenizer

from deployments.messages import EngineCall


def fault_of(call: EngineCall) -> str | None:
    return _fake(call).get("fault")


def faulty_from(call: EngineCall) -> int:
    """Tokens that a stream says before its fault; 0 when it fails at once."""
    after_tokens: int = _fake(call).get("after_tokens", 0)
    return after_tokens


def lengths(call: EngineCall, tokenizer: Tokenizer, usual_output_tokens: int) -> tuple[int, int]:
    """Prompt tokens, and output tokens that are still to be said, at least one.

    Args:
        usual_output_tokens: of a whole reply when the call does not say.
    """
    body = call["body"]
    text = body.get("prompt") or " ".join(
        str(message.get("content", "")) for message in _messages(body)
    )
    prompt_tokens = len(tokenizer.encode(str(text)).ids)
    asked = _fake(call).get("output_tokens")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    output_tokens = int(asked or usual_output_tokens) - num_said(call)
    if isinstance(limit, int):
        output_tokens = limit if body.get("ignore_eos") else min(limit, output_tokens)
    return prompt_tokens, max(1, output_tokens)


def num_said(call: EngineCall) -> int:
    """Words of the reply that the call already holds."""
    body = call["body"]
    if not body.get("continue_final_message"):
        return 0
    return len(str(_messages(body)[-1].get("content", "")).split())


def _fake(call: EngineCall) -> dict[str, Any]:
    fake = call["body"].get("fake")
    return fake if isinstance(fake, dict) else {}


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    return messages if isinstance(messages, list) else []
