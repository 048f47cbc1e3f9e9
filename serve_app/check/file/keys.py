"""Which keys a block may have. pydantic models in, findings with the nearest valid key out."""

import typing
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, TypeAlias

from pydantic import BaseModel

from deployments.spec import unknown_key
from serve_app.check.file.document import Document, Finding, Path

KeyTree: TypeAlias = Mapping[str, "KeyTree | None"]
# Keys that the user names: each value is a block, its key is free.
_ANY_KEY = "*"


def key_tree(model: type[BaseModel]) -> KeyTree:
    """Valid keys of a model, nested; None where anything goes.

    >>> class A(BaseModel):
    ...     name: str
    >>> key_tree(A)
    {'name': None}
    """
    return {name: _keys_of(field.annotation, model) for name, field in model.model_fields.items()}


def _keys_of(annotation: Any, parent: type[BaseModel]) -> KeyTree | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if annotation is parent else key_tree(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is dict and len(arguments) == 2:
        values = _keys_of(arguments[1], parent)
        return {_ANY_KEY: values} if values is not None else None
    if origin not in (list, typing.Union, UnionType, typing.Annotated):
        return None
    found = (_keys_of(argument, parent) for argument in arguments)
    return next((keys for keys in found if keys is not None), None)


def with_runtime_env(tree: KeyTree, names: Iterable[str]) -> KeyTree:
    """The same tree, with `names` as valid keys of each open `runtime_env`."""
    known: KeyTree = dict.fromkeys(names)

    def fill(name: str, keys: KeyTree | None) -> KeyTree | None:
        if keys is None:
            return known if name == "runtime_env" else None
        return {inner: fill(inner, below) for inner, below in keys.items()}

    return {name: fill(name, keys) for name, keys in tree.items()}


def unknown_keys(
    document: Document, value: Any, keys: KeyTree | None, path: Path
) -> Iterator[Finding]:
    """Each key of `value` that `keys` does not hold, with the nearest one that it does."""
    if keys is None:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_keys(document, item, keys, (*path, index))
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        here = (*path, key)
        if key in keys or _ANY_KEY in keys:
            yield from unknown_keys(document, inner, keys.get(key, keys.get(_ANY_KEY)), here)
            continue
        yield document.at(here, unknown_key(key, list(keys)))


def without_unknown_keys(value: Any, keys: KeyTree | None) -> Any:
    """A copy of `value` that holds only what `keys` knows."""
    if keys is None:
        return value
    if isinstance(value, list):
        return [without_unknown_keys(item, keys) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_unknown_keys(inner, keys.get(key, keys.get(_ANY_KEY)))
        for key, inner in value.items()
        if key in keys or _ANY_KEY in keys
    }
