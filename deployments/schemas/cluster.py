"""What Ray's cluster launcher and EC2 would accept. Dicts in, problems out; offline.

Asks Ray's own schema and `prepare_config`, and botocore's model of EC2. Both are imported inside
functions: they take a second or two.
"""

import copy
import difflib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deployments.schemas.problems import Problem
from deployments.spec import unknown_key

# Keys that Ray's own AWS provider takes out of a node_config before EC2 sees it.
_RAYS_OWN_KEYS = ("SubnetIds",)
# What the provider fills in itself: a file that sets them is overridden.
_NOT_OURS = ("MinCount", "MaxCount")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "long": int, "boolean": bool, "double": (int, float),
    "float": (int, float), "list": list, "structure": dict, "map": dict,
}  # fmt: skip


def ray_version() -> str:
    import ray

    return str(ray.__version__)


def cluster_file_problems(content: dict[str, Any]) -> list[Problem]:
    """What Ray's schema refuses, and where that is silent, what its `prepare_config` does.

    `prepare_config` merges the provider's defaults, so it is asked only about a file that is
    right in itself.
    """
    return list(_schema_problems(content)) or _prepared_problems(content)


def _schema_problems(content: dict[str, Any]) -> Iterator[Problem]:
    import jsonschema  # type: ignore[import-untyped]
    import ray.autoscaler

    path = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    for error in jsonschema.Draft7Validator(json.loads(path.read_text())).iter_errors(content):
        where = tuple(error.absolute_path)
        if error.validator != "additionalProperties":
            yield Problem(where, error.message)
            continue
        valid = sorted(error.schema["properties"])
        for key in error.instance:
            if key not in valid:
                yield Problem((*where, key), unknown_key(key, valid))


def _prepared_problems(content: dict[str, Any]) -> list[Problem]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    # It remarks on every default it fills in.
    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)
    try:
        validate_config(prepare_config(copy.deepcopy(content)))
    except (Exception, SystemExit) as err:
        # Ray raises whatever its parts do, and ends the process for a wrong local provider.
        return [Problem(("provider",), " ".join(str(err).split()) or type(err).__name__)]
    return []


def ec2_problems(node_config: Mapping[str, Any]) -> list[Problem]:
    """Unknown keys, wrong types and unknown values of a `node_config`, by EC2's RunInstances."""
    import botocore.session

    model = botocore.session.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    ours = {key: value for key, value in node_config.items() if key not in _RAYS_OWN_KEYS}
    problems = list(_shape_problems(ours, shape, ()))
    problems += [
        Problem((key,), "Ray sets it itself; remove it") for key in _NOT_OURS if key in ours
    ]
    return problems


def _shape_problems(value: Any, shape: Any, path: tuple[str | int, ...]) -> Iterator[Problem]:
    expected = _TYPES.get(shape.type_name)
    is_bool_for_number = isinstance(value, bool) and shape.type_name != "boolean"
    if expected is not None and (not isinstance(value, expected) or is_bool_for_number):
        yield Problem(path, f"EC2 takes a {shape.type_name} here, got {value!r}")
        return
    if shape.type_name == "structure":
        for key, inner in value.items():
            if key in shape.members:
                yield from _shape_problems(inner, shape.members[key], (*path, key))
            else:
                yield Problem((*path, key), unknown_key(key, list(shape.members)))
    if shape.type_name == "list":
        for index, inner in enumerate(value):
            yield from _shape_problems(inner, shape.member, (*path, index))
    valid = getattr(shape, "enum", [])
    if valid and value not in valid:
        nearest = difflib.get_close_matches(str(value), valid, n=3)
        meant = f", did you mean {' or '.join(nearest)}?" if nearest else ""
        yield Problem(path, f"EC2 knows no {value!r} here{meant}")
