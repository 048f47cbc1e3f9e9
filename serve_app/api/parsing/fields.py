"""Checks of single values. A body and a field's name in, the value out; refuses the rest.

A refusal names the field, the value, the reason and what to do, and never quotes a prompt.
"""

import math
from typing import Any

from serve_app.errors import InvalidRequest

_LONGEST_SHOWN = 80
_LONGEST_ID = 256


def invalid(name: str, must: str, value: Any) -> InvalidRequest:
    """The refusal of one field's value."""
    return InvalidRequest(f"{name}: must be {must}, got {shown(value)}.", param=name)


def shown(value: Any) -> str:
    """A value as an error message may quote it: short, printable, one line.

    >>> shown("a" * 100)[-12:]
    "aaaaaaaa...'"
    """
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)}"
    if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
        value = value[:_LONGEST_SHOWN] + "..."
    return ascii(value)


def integer(
    body: dict[str, Any], name: str, *, minimum: int, maximum: int | None = None
) -> int | None:
    """A whole number within its bounds, None when it is left out."""
    value = body.get(name)
    if value is None:
        return None
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or value < minimum:
        raise invalid(name, f"a whole number of at least {minimum}", value)
    if maximum is not None and value > maximum:
        raise invalid(name, f"a whole number from {minimum} to {maximum}", value)
    return int(value)


def number(body: dict[str, Any], name: str, *, minimum: float, maximum: float) -> None:
    """Checks a number within its bounds, if there is one."""
    value = body.get(name)
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not minimum <= value <= maximum:
        raise invalid(name, f"a number from {minimum:g} to {maximum:g}", value)


def boolean(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise invalid(name, "true or false", value)
    return value


def mapping(body: dict[str, Any], name: str) -> dict[str, Any]:
    """An object, empty when it is left out."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(name, "an object", value)
    return value


def listed(body: dict[str, Any], name: str, *, most: int, limit: str) -> list[Any]:
    """A list of at most so many entries, empty when it is left out.

    Args:
        limit: the configuration's name of `most`.
    """
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(name, "a list", value)
    if len(value) > most:
        raise invalid(name, f"a list of at most {most} entries ({limit})", value)
    return value


def identifier(value: Any, name: str) -> None:
    """Checks an id of the caller's own: short, and printable, because it is logged and shown."""
    if value is None:
        return
    if not isinstance(value, str) or len(value) > _LONGEST_ID or not value.isprintable():
        raise invalid(name, f"a printable text of at most {_LONGEST_ID} characters", value)
