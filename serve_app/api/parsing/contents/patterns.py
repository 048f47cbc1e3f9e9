"""Regular expressions that an engine may compile. A pattern in; refuses what explodes."""

import re
from typing import Any

from serve_app.access.settings import InputConfig
from serve_app.api.parsing.fields import invalid
from serve_app.errors import InvalidRequest

_DEEPEST_GROUPS = 32
_BOUNDLESS = 10**12
_TOKEN = re.compile(
    r"(?P<atom>\\.|\[\^?\]?(?:\\.|[^\]\\])*\]?|[^()*+?|^${\\\[])|(?P<open>\()|(?P<close>\))"
    r"|\{(?P<low>\d*)(?:,(?P<high>\d*))?\}|.",
    re.DOTALL,
)
_UNSUPPORTED = re.compile(r"\\[1-9]|\(\?(?:<?[=!]|P=|\()")


def require_pattern(pattern: Any, name: str, limits: InputConfig) -> None:
    """Raises InvalidRequest for a pattern that is too long or multiplies without bound."""
    if not isinstance(pattern, str):
        raise invalid(name, "a text", pattern)
    if len(pattern) > limits.max_pattern_length:
        raise InvalidRequest(
            f"{name}: has {len(pattern)} characters; the limit is {limits.max_pattern_length} "
            "(input.max_pattern_length).",
            param=name,
        )
    if _UNSUPPORTED.search(pattern):
        raise InvalidRequest(
            f"{name}: back references and look-around are no regular expressions, and engines "
            "refuse them. Write the pattern without.",
            param=name,
        )
    repetitions = most_repetitions(pattern)
    if repetitions > limits.max_repetitions:
        raise InvalidRequest(
            f"{name}: its bounded repetitions multiply to {min(repetitions, _BOUNDLESS)} or more; "
            f"the limit is {limits.max_repetitions} (input.max_repetitions). Use * or + or "
            "smaller bounds.",
            param=name,
        )


def most_repetitions(pattern: str) -> int:
    """What nested bounded repetitions multiply to, and at least what they add up to.

    >>> most_repetitions("(a{10}b{5}){20}")
    300
    """
    sizes, last = [0], 0
    for token in _TOKEN.finditer(pattern):
        if token["atom"]:
            last = 1
            sizes[-1] += last
        elif token["open"]:
            sizes.append(0)
        elif token["close"] and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif token["low"] is not None:
            bounds = [int(number) for number in (token["low"], token["high"]) if number]
            times = max(bounds, default=1)
            # Counted once already, when it was read.
            sizes[-1] += last * (times - 1)
            last *= times
        if len(sizes) > _DEEPEST_GROUPS:
            return _BOUNDLESS
    return sum(sizes)
