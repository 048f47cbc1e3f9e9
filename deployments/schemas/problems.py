"""Reasons why a library refuses a value. pydantic's errors in, paths and sentences out."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Problem:
    """One value that a library would refuse. path: keys and indices from where it was asked."""

    path: tuple[str | int, ...]
    message: str


def problems_of(err: ValidationError) -> list[Problem]:
    """Each error of pydantic as a path and a reason, without its types and links."""
    return [
        Problem(_without_branches(error["loc"]), _reason(error))
        for error in err.errors(include_url=False)
    ]


def first_reason(err: ValidationError) -> str:
    """The first error in one line, with its path if it has one."""
    first, *_ = problems_of(err)
    inside = ".".join(str(part) for part in first.path)
    return f"{inside}: {first.message}" if inside else first.message


def _without_branches(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Drops what pydantic adds to a path for the branch of a union, such as `dict[str,any]`."""
    return tuple(
        part for part in loc
        if isinstance(part, int) or not ("[" in part or part in ("str", "int", "float", "bool"))
    )  # fmt: skip


def _reason(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    cause = getattr((error.get("ctx") or {}).get("error"), "__cause__", None)
    if isinstance(cause, ValidationError):
        # Ray wraps the reason in "Invalid deployment config: {everything}"; show the reason.
        parts = (f"{'.'.join(map(str, p.path))}: {p.message}" for p in problems_of(cause))
        return "; ".join(parts)
    if error["type"] == "value_error" or error["type"] == "missing":
        return message
    return f"{message}, got {error['input']!r}"
