"""Counts prompt tokens as a tier's engine will. OpenAI body in, tokens out; knows no tier."""

import json
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

_TOKENS_PER_MESSAGE_WITHOUT_TEMPLATE = 8


class PromptCounter:
    """One tier's tokenizer and chat template.

    Args:
        tokenizer_json: content of a fast tokenizer's `tokenizer.json`.
        chat_template: Jinja source, rendered in a sandbox; None for a model that has none.
        special_tokens: names and texts the template may use, such as `bos_token`.
    """

    def __init__(
        self, tokenizer_json: bytes, chat_template: str | None, special_tokens: dict[str, str]
    ) -> None:
        self._tokenizer = Tokenizer.from_buffer(tokenizer_json)
        # A tokenizer file may carry the truncation of whoever saved it.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template = _compile(chat_template) if chat_template else None
        self._special_tokens = special_tokens

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def chat(self, body: dict[str, Any]) -> list[int]:
        """Token ids of a chat body's prompt, through the chat template."""
        text = self._render(body)
        if text is None:
            text = "\n".join(message_text(message) for message in body["messages"])
        return self.encode(text, add_special_tokens=False)

    def count(self, body: dict[str, Any]) -> int:
        """Prompt tokens of a chat or completions body; of the longest prompt in a list of them."""
        if "messages" in body:
            extra = 0
            if self._template is None:
                extra = _TOKENS_PER_MESSAGE_WITHOUT_TEMPLATE * len(body["messages"])
            return len(self.chat(body)) + extra
        prompt = body["prompt"]
        if isinstance(prompt, str):
            return len(self.encode(prompt, add_special_tokens=True))
        if prompt and isinstance(prompt[0], int):
            return len(prompt)
        return max(self.count({"prompt": one}) for one in prompt)

    def _render(self, body: dict[str, Any]) -> str | None:
        if self._template is None:
            return None
        messages = [message | {"content": message_text(message)} for message in body["messages"]]
        try:
            return self._template.render(
                messages=messages,
                tools=body.get("tools"),
                add_generation_prompt=body.get("add_generation_prompt", True),
                **self._special_tokens,
                **(body.get("chat_template_kwargs") or {}),
            )
        except (jinja2.TemplateError, TypeError, KeyError, ValueError):
            # The engine renders the same template and words the error; here it is only counted.
            return None


def message_text(message: dict[str, Any]) -> str:
    """The text of one message, whose content is a string, a list of parts, or absent.

    >>> message_text({"content": [{"type": "text", "text": "Hi"}]})
    'Hi'
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(
        part if isinstance(part, str) else str(part.get("text", ""))
        for part in content
        if isinstance(part, str | dict)
    )


def _compile(chat_template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(
        value, ensure_ascii=False, **options
    )
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(chat_template)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
