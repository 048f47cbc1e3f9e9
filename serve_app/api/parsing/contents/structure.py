"""Structured output: schemas, patterns, grammars, tools. A body in; refuses what explodes.

Engines compile each of them to an automaton before the first token, on the CPU that schedules
every other request; a few bytes can ask for millions of states.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from serve_app.access.settings import InputConfig
from serve_app.api.parsing.contents.patterns import require_pattern
from serve_app.api.parsing.fields import invalid, listed, mapping
from serve_app.errors import InvalidRequest

_TEXTS = ("guided_grammar", "structural_tag", "guided_decoding_backend")
_BOUNDS = (
    "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties",
    "minContains", "maxContains",
)  # fmt: skip
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
        _require_schema(value, name, limits)
    elif kind == "choice":
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise invalid(name, "a list of texts", value)
        _require_size(value, name, limits)
    else:
        _require_size(value, name, limits)


def _require_tools(body: dict[str, Any], limits: InputConfig) -> None:
    tools = listed(body, "tools", most=limits.max_tools, limit="input.max_tools")
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f"{where}.function.name: a text is required.", param=where)
        if len(function["name"]) > 64 or not function["name"].isprintable():
            raise invalid(f"{where}.function.name", "at most 64 characters", function["name"])
        if function.get("parameters") is not None:
            _require_schema(function["parameters"], f"{where}.function.parameters", limits)
    choice = body.get("tool_choice")
    if choice is not None and not isinstance(choice, str | dict):
        raise invalid("tool_choice", "a text or an object", choice)


def _require_response_format(body: dict[str, Any], limits: InputConfig) -> None:
    wanted = mapping(body, "response_format")
    if not wanted:
        return
    if wanted.get("type") not in _FORMATS:
        raise invalid("response_format.type", f"one of {', '.join(_FORMATS)}", wanted.get("type"))
    _require_size(wanted, "response_format", limits)
    if wanted["type"] == "json_schema":
        outer = mapping(wanted, "json_schema")
        if outer.get("schema") is not None:
            _require_schema(outer["schema"], "response_format.json_schema.schema", limits)


def _require_schema(schema: Any, name: str, limits: InputConfig) -> None:
    """Size, patterns, bounds and references of a JSON schema, wherever they are in it."""
    if isinstance(schema, str):
        try:
            schema = orjson.loads(schema)
        except orjson.JSONDecodeError as err:
            raise InvalidRequest(f"{name}: is not valid JSON: {err.msg}.", param=name) from err
    if not isinstance(schema, dict | bool):
        raise invalid(name, "a JSON schema, which is an object", schema)
    _require_size(schema, name, limits)
    nested_bounds = 1
    for part in _parts(schema):
        require_pattern(part.get("pattern", ""), f"{name}: pattern", limits)
        patterns = part.get("patternProperties")
        for pattern in patterns if isinstance(patterns, dict) else ():
            require_pattern(pattern, f"{name}: patternProperties", limits)
        _require_local(part.get("$ref"), name)
        bound = max((_bound(part.get(keyword), keyword, name) for keyword in _BOUNDS), default=1)
        if bound > limits.max_repetitions:
            raise InvalidRequest(
                f"{name}: a bound of {bound} is over {limits.max_repetitions} "
                "(input.max_repetitions). Leave it out or lower it.",
                param=name,
            )
        nested_bounds *= max(1, bound)
        if nested_bounds > limits.max_repetitions**2:
            raise InvalidRequest(
                f"{name}: its bounds multiply to more than {limits.max_repetitions**2} states. "
                "Leave some of them out.",
                param=name,
            )


def _bound(value: Any, keyword: str, name: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InvalidRequest(f"{name}: {keyword} must be a number of at least 0.", param=name)
    return int(value)


def _require_local(reference: Any, name: str) -> None:
    if reference is not None and not (isinstance(reference, str) and reference.startswith("#")):
        raise InvalidRequest(
            f"{name}: a $ref must point into the schema itself (`#/...`); no other document is "
            "fetched for a caller.",
            param=name,
        )


def _require_size(value: Any, name: str, limits: InputConfig) -> None:
    size = len(value) if isinstance(value, str) else len(orjson.dumps(value))
    if size > limits.max_schema_bytes:
        raise InvalidRequest(
            f"{name}: has {size} bytes; the limit is {limits.max_schema_bytes} "
            "(input.max_schema_bytes). Split or simplify it.",
            param=name,
        )


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object in a schema; its nesting was bounded with the body's, or by orjson."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
