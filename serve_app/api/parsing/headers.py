"""Headers that are logged, shown or sent on. Whatever a caller sent in, what is safe out."""

import re
import uuid
from collections.abc import Mapping

_LONGEST_ID = 128
_LONGEST_TRACESTATE = 512
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[\x21-\x7e]{0,64})?")


def request_id(headers: Mapping[str, str]) -> str:
    """The caller's own id, or a new one."""
    return printable(headers.get("x-request-id", "")) or uuid.uuid4().hex


def printable(given: str) -> str:
    """An id kept to what logs, headers and paths show as it is."""
    clean = "".join(c for c in given[: 2 * _LONGEST_ID] if c.isascii() and _is_kept(c))
    return clean[:_LONGEST_ID]


def _is_kept(letter: str) -> bool:
    return letter.isalnum() or letter in "-_.:"


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """W3C trace context, when it is one."""
    if not _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
        return {}
    kept = {"traceparent": headers["traceparent"]}
    state = headers.get("tracestate", "")
    if state and len(state) <= _LONGEST_TRACESTATE and state.isascii() and state.isprintable():
        kept["tracestate"] = state
    return kept
