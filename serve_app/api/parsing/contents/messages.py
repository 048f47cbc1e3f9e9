"""The messages of a chat. Lists in; refuses roles, parts and ids that no text tier should see."""

import re
from typing import Any

from serve_app.access.settings import InputConfig
from serve_app.api.parsing.fields import identifier, invalid, listed
from serve_app.errors import InvalidRequest

# A template writes the role beside its own control tokens, so an unknown one is a way to inject.
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# No control token of a template.
_FUNCTION_NAME = re.compile(r"[^\s<>|]{1,64}")
_TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_MOST_TOOL_CALLS = 128


def require_messages(body: dict[str, Any], limits: InputConfig) -> None:
    """Raises InvalidRequest for what is no list of messages."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest(
            "messages: a list of at least one message is required.", param="messages"
        )
    listed(body, "messages", most=limits.max_messages, limit="input.max_messages")
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise invalid(where, "an object with `role` and `content`", type(message).__name__)
        if message.get("role") not in _ROLES:
            raise invalid(f"{where}.role", f"one of {', '.join(_ROLES)}", message.get("role"))
        _require_name(message, f"{where}.name")
        identifier(message.get("tool_call_id"), f"{where}.tool_call_id")
        _require_content(message.get("content"), f"{where}.content", limits)
        _require_tool_calls(message, where)


def _require_name(message: dict[str, Any], where: str) -> None:
    name = message.get("name")
    if name is not None and message["role"] in ("tool", "function"):
        require_function_name(name, where)
    elif name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise invalid(where, "1 to 64 letters, digits, `_`, `.` or `-`", name)


def _require_content(content: Any, where: str, limits: InputConfig) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid(where, "a text or a list of parts", type(content).__name__)
    for index, part in enumerate(content):
        _require_part(part, f"{where}[{index}]", limits)


def _require_part(part: Any, where: str, limits: InputConfig) -> None:
    if not isinstance(part, dict):
        raise invalid(where, 'an object such as {"type": "text", "text": "..."}', "something else")
    kind = part.get("type")
    if isinstance(kind, str) and kind in _TEXT_PARTS:
        if not isinstance(part.get(_TEXT_PARTS[kind]), str):
            raise InvalidRequest(f"{where}.{_TEXT_PARTS[kind]}: a text is required.", param=where)
        return
    if not limits.media:
        raise InvalidRequest(
            f"{where}.type: must be `text`, got {str(kind)[:40]!a}: these models read text only, "
            "and no URL is fetched for a caller. (input.media accepts other parts.)",
            param=where,
        )


def require_function_name(name: Any, where: str) -> None:
    """Raises InvalidRequest unless it may stand in a definition, and so in a later call of it."""
    if not isinstance(name, str):
        raise InvalidRequest(f"{where}: a text is required.", param=where)
    if not _FUNCTION_NAME.fullmatch(name) or not name.isprintable():
        raise invalid(where, "1 to 64 printable characters without spaces, `<`, `>` and `|`", name)


def _require_tool_calls(message: dict[str, Any], where: str) -> None:
    calls = listed(message, "tool_calls", most=_MOST_TOOL_CALLS, limit="fixed")
    for index, call in enumerate(calls):
        here = f"{where}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise InvalidRequest(f"{here}.function: an object is required.", param=here)
        require_function_name(function.get("name"), f"{here}.function.name")
        if not isinstance(function.get("arguments", ""), str):
            raise InvalidRequest(
                f"{here}.function.arguments: must be a text that holds JSON.", param=here
            )
        identifier(call.get("id"), f"{here}.id")
