"""A JSON schema that an engine may compile. A schema in; refuses what explodes."""

from collections.abc import Iterable
from typing import Any, Literal

import orjson

from serve_app.access.settings import InputConfig
from serve_app.api.parsing.contents.patterns import require_pattern
from serve_app.api.parsing.fields import invalid
from serve_app.errors import InvalidRequest

_BOUNDS = (
    "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties",
    "minContains", "maxContains",
)  # fmt: skip
# Keywords that map names of the caller's own to schemas, and those whose value is no schema.
_NAMED = frozenset({
    "properties", "$defs", "definitions", "dependentSchemas", "dependencies", "patternProperties",
})  # fmt: skip
_VALUES = frozenset({"enum", "const", "default", "example", "examples"})
_DEEPEST = 200

# What an object in a schema is: one itself, schemas by name, or anything.
_Kind = Literal["schema", "named", "value"]


def require_schema(schema: Any, name: str, limits: InputConfig) -> None:
    """Size, patterns, bounds and references of a JSON schema, wherever they are in it."""
    # Before it is parsed: what a text nests is not bounded yet, and cannot all be written again.
    require_size(schema, name, limits)
    if isinstance(schema, str):
        try:
            schema = orjson.loads(schema)
        except orjson.JSONDecodeError as err:
            raise InvalidRequest(f"{name}: is not valid JSON: {err.msg}.", param=name) from err
    if not isinstance(schema, dict | bool):
        raise invalid(name, "a JSON schema, which is an object", schema)
    _Schema(schema, name, limits).num_states(schema, "schema", 0)


def require_size(value: Any, name: str, limits: InputConfig) -> None:
    size = len(value) if isinstance(value, str) else len(orjson.dumps(value))
    if size > limits.max_schema_bytes:
        raise InvalidRequest(
            f"{name}: has {size} bytes; the limit is {limits.max_schema_bytes} "
            "(input.max_schema_bytes). Split or simplify it.",
            param=name,
        )


def require_number(value: Any, name: str, what: str, most: int, limit: str) -> None:
    """Refuses a list or an object of more than `most`; `limit` is the key that says so."""
    if isinstance(value, list | dict) and len(value) > most:
        raise InvalidRequest(
            f"{name}: has {len(value)} {what}; the limit is {most} ({limit}). Leave some out.",
            param=name,
        )


class _Schema:
    """Walks one schema, each part once."""

    def __init__(self, root: Any, name: str, limits: InputConfig) -> None:
        self._root = root
        self._name = name
        self._limits = limits
        self._known: dict[int, int] = {}

    def num_states(self, part: Any, kind: _Kind, depth: int) -> int:
        """What its bounds come to: nested ones multiply, those side by side add up.

        Raises:
            InvalidRequest: a part of it is malformed, or they come to too much.
        """
        if depth > _DEEPEST:
            raise self._refused(
                f"is nested more than {_DEEPEST} levels deep, references included. Flatten it."
            )
        if isinstance(part, list):
            return sum(self.num_states(one, kind, depth + 1) for one in part)
        if not isinstance(part, dict):
            return 0
        if id(part) in self._known:
            return self._known[id(part)]
        # For a schema that refers to itself, which an engine compiles to a loop.
        self._known[id(part)] = 1
        keywords = part if kind == "schema" else _plausible(part)
        bound = self._checked(keywords)
        inner = [(self._target(keywords.get("$ref")), "schema")]
        inner += [(value, _kind_inside(kind, keyword)) for keyword, value in part.items()]
        states = max(1, bound) * max(1, self._sum(inner, depth + 1))
        most = self._limits.max_repetitions**2
        if states > most:
            raise self._refused(
                f"its bounds come to more than {most} states, nested ones multiplied. Leave some "
                "of them out."
            )
        self._known[id(part)] = states
        return states

    def _sum(self, parts: Iterable[tuple[Any, Any]], depth: int) -> int:
        return sum(self.num_states(part, kind, depth) for part, kind in parts)

    def _checked(self, keywords: dict[str, Any]) -> int:
        """Checks one object's keywords; its largest bound."""
        require_pattern(keywords.get("pattern", ""), f"{self._name}: pattern", self._limits)
        patterns = keywords.get("patternProperties")
        for pattern in patterns if isinstance(patterns, dict) else ():
            require_pattern(pattern, f"{self._name}: patternProperties", self._limits)
        self._require_few(keywords)
        reference = keywords.get("$ref")
        if reference is not None and not (isinstance(reference, str) and reference[:1] == "#"):
            raise self._refused(
                "a $ref must point into the schema itself (`#/...`); no other document is fetched "
                "for a caller."
            )
        bound = max(self._bound(keywords.get(keyword), keyword) for keyword in _BOUNDS)
        if bound > self._limits.max_repetitions:
            raise self._refused(
                f"a bound of {bound} is over {self._limits.max_repetitions} "
                "(input.max_repetitions). Leave it out or lower it."
            )
        return bound

    def _require_few(self, keywords: dict[str, Any]) -> None:
        name, limits = self._name, self._limits
        require_number(
            keywords.get("properties"), f"{name}: properties", "entries", limits.max_properties,
            "input.max_properties",
        )  # fmt: skip
        require_number(
            keywords.get("enum"), f"{name}: enum", "values", limits.max_choices,
            "input.max_choices",
        )  # fmt: skip

    def _bound(self, value: Any, keyword: str) -> int:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise self._refused(f"{keyword} must be a number of at least 0.")
        return int(value)

    def _target(self, reference: str | None) -> Any:
        """The object that a checked `$ref` points to; None when there is none."""
        target = self._root if reference is not None else None
        for step in (reference or "").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            else:
                target = target.get(name) if isinstance(target, dict) else None
        return target if isinstance(target, dict) else None

    def _refused(self, reason: str) -> InvalidRequest:
        return InvalidRequest(f"{self._name}: {reason}", param=self._name)


def _kind_inside(kind: _Kind, keyword: str) -> _Kind:
    if kind == "named":
        return "schema"
    if kind == "value" or keyword in _VALUES:
        return "value"
    return "named" if keyword in _NAMED else "schema"


def _plausible(part: dict[str, Any]) -> dict[str, Any]:
    """What of names and values would be keywords if a `$ref` pointed here."""
    return {
        name: value for name, value in part.items()
        if (name in ("pattern", "$ref") and isinstance(value, str))
        or (name in _BOUNDS and type(value) in (int, float) and value >= 0)
        or name in ("patternProperties", "properties", "enum")
    }  # fmt: skip
