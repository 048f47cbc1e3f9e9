"""Structured output: schemas, patterns, grammars, tools. A body in; refuses what explodes.

Engines compile each of them to an automaton before the first token, on the CPU that schedules
every other request; a few bytes can ask for millions of states.
"""

from typing import Any

from serve_app.access.settings import InputConfig
from serve_app.api.parsing.contents.messages import require_function_name
from serve_app.api.parsing.contents.patterns import require_pattern
from serve_app.api.parsing.contents.schemas import (
    require_number,
    require_schema,
    require_size,
)
from serve_app.api.parsing.fields import invalid, listed, mapping
from serve_app.errors import InvalidRequest

_TEXTS = ("guided_grammar", "structural_tag", "guided_decoding_backend")
_FORMATS = ("text", "json_object", "json_schema", "structural_tag")


def require_structure(body: dict[str, Any], limits: InputConfig) -> None:
    """Raises InvalidRequest for structures that are malformed or could cost without bound."""
    _require_tools(body, limits)
    _require_response_format(body, limits)
    guided = {
        "guided_json": body.get("guided_json"),
        "guided_regex": body.get("guided_regex"),
        "guided_choice": body.get("guided_choice"),
        **{name: body.get(name) for name in _TEXTS},
    }
    nested = mapping(body, "structured_outputs")
    guided |= {f"structured_outputs.{name}": value for name, value in nested.items()}
    for name, value in guided.items():
        if value is not None:
            _require_one(name, value, limits)


def _require_one(name: str, value: Any, limits: InputConfig) -> None:
    kind = name.rpartition(".")[2].removeprefix("guided_")
    if kind == "regex":
        require_pattern(value, name, limits)
    elif kind == "json":
        require_schema(value, name, limits)
    elif kind == "choice":
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise invalid(name, "a list of texts", value)
        require_number(value, name, "choices", limits.max_choices, "input.max_choices")
        require_size(value, name, limits)
    else:
        require_size(value, name, limits)


def _require_tools(body: dict[str, Any], limits: InputConfig) -> None:
    tools = listed(body, "tools", most=limits.max_tools, limit="input.max_tools")
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            raise InvalidRequest(f"{where}.function: an object is required.", param=where)
        require_function_name(function.get("name"), f"{where}.function.name")
        if function.get("parameters") is not None:
            require_schema(function["parameters"], f"{where}.function.parameters", limits)
    choice = body.get("tool_choice")
    if choice is not None and not isinstance(choice, str | dict):
        raise invalid("tool_choice", "a text or an object", choice)


def _require_response_format(body: dict[str, Any], limits: InputConfig) -> None:
    wanted = mapping(body, "response_format")
    if not wanted:
        return
    if wanted.get("type") not in _FORMATS:
        raise invalid("response_format.type", f"one of {', '.join(_FORMATS)}", wanted.get("type"))
    require_size(wanted, "response_format", limits)
    if wanted["type"] == "json_schema":
        outer = mapping(wanted, "json_schema")
        if outer.get("schema") is not None:
            require_schema(outer["schema"], "response_format.json_schema.schema", limits)
