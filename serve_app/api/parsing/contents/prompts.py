"""The prompt of a completion: a text, texts, token ids, or lists of them."""

from typing import Any

from serve_app.access.settings import InputConfig
from serve_app.api.parsing.fields import invalid
from serve_app.errors import InvalidRequest

_LARGEST_TOKEN_ID = 2**31 - 1
_FORMS = "a text, or a list of texts or token ids"


def require_prompt(body: dict[str, Any], limits: InputConfig) -> None:
    """Raises InvalidRequest for what is no prompt."""
    prompt = body.get("prompt")
    if prompt is None or prompt == "" or prompt == []:
        raise InvalidRequest(f"prompt: {_FORMS}, is required.", param="prompt")
    if isinstance(prompt, str) or _are_token_ids(prompt):
        return
    if not isinstance(prompt, list):
        raise invalid("prompt", _FORMS, type(prompt).__name__)
    if len(prompt) > limits.max_prompts:
        must = f"one of at most {limits.max_prompts} prompts (input.max_prompts)"
        raise invalid("prompt", must, prompt)
    are_texts = all(isinstance(one, str) and one for one in prompt)
    if not are_texts and not all(one and _are_token_ids(one) for one in prompt):
        raise InvalidRequest(
            f"prompt: must be {_FORMS}; all of one kind, none empty, ids from 0 to "
            f"{_LARGEST_TOKEN_ID}.",
            param="prompt",
        )


def num_prompts(prompt: Any) -> int:
    """How many prompts a checked `prompt` holds; each is answered by itself.

    >>> num_prompts(["Once", "upon"]), num_prompts([1, 2, 3])
    (2, 1)
    """
    return 1 if isinstance(prompt, str) or _are_token_ids(prompt) else len(prompt)


def _are_token_ids(prompt: Any) -> bool:
    return isinstance(prompt, list) and all(
        type(token) is int and 0 <= token <= _LARGEST_TOKEN_ID for token in prompt
    )
