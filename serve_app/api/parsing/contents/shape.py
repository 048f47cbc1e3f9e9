"""How deep and how branched a body may be. A parsed body in; refuses what is built to exhaust."""

from typing import Any

from serve_app.access.settings import InputConfig
from serve_app.errors import InvalidRequest

_LONGEST_NAME = 64
_MOST_FIELDS = 128


def require_shape(body: dict[str, Any], limits: InputConfig) -> None:
    """Raises InvalidRequest for a body that is nested too deeply or has too many parts."""
    if len(body) > _MOST_FIELDS:
        raise InvalidRequest(
            f"The body has {len(body)} fields; at most {_MOST_FIELDS} are accepted. Send only "
            "fields of OpenAI's and vLLM's requests."
        )
    long = next((name for name in body if len(name) > _LONGEST_NAME), None)
    if long is not None:
        raise InvalidRequest(
            f"The body has a field whose name has {len(long)} characters; no field's name has "
            f"more than {_LONGEST_NAME}."
        )
    level: list[Any] = [body]
    containers = 0
    for _ in range(limits.max_nesting):
        containers += len(level)
        if containers > limits.max_containers:
            raise InvalidRequest(
                f"The body has more than {limits.max_containers} objects and lists "
                "(input.max_containers). Send less in one request."
            )
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise InvalidRequest(
        f"The body is nested more than {limits.max_nesting} levels deep (input.max_nesting). "
        "Flatten it."
    )


def _children(parent: Any) -> list[Any]:
    values = parent.values() if type(parent) is dict else parent
    return [value for value in values if type(value) is dict or type(value) is list]
