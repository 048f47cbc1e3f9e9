"""What Ray Serve, Ray Serve LLM and vLLM would accept. Dicts in, problems out; starts nothing.

Asks the installed libraries themselves, offline. They are imported inside functions: Ray Serve's
schemas take 2 s, Ray Serve LLM and vLLM 10 s.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from deployments.spec import TierSpec, unknown_key

@dataclass(frozen=True, slots=True)
class Problem:
    """One value that a library would refuse. path: keys and list indices from where it was asked."""

    path: tuple[str | int, ...]
    message: str


def serve_file_model() -> type[BaseModel]:
    """Ray Serve's schema of a whole config file."""
    from ray.serve.schema import ServeDeploySchema

    return cast("type[BaseModel]", ServeDeploySchema)


def deployment_model() -> type[BaseModel]:
    """Ray Serve's schema of one deployment's options, as in `deployment_config`."""
    from ray.serve.schema import DeploymentSchema

    return cast("type[BaseModel]", DeploymentSchema)


def runtime_env_names() -> list[str]:
    """Valid keys of a `runtime_env`."""
    from ray.runtime_env import RuntimeEnv

    return sorted(RuntimeEnv.known_fields)


def serve_file_problems(document: Mapping[str, Any]) -> list[Problem]:
    """Values of the file that Ray Serve's own schema refuses; `args` is not looked at."""
    from ray.serve.schema import ServeDeploySchema

    try:
        ServeDeploySchema.model_validate(document)
    except ValidationError as err:
        return problems_of(err)
    return []


def problems_of(err: ValidationError) -> list[Problem]:
    """Each error of pydantic as a path and a reason, without its types and links."""
    return [
        Problem(_without_branches(error["loc"]), _reason(error))
        for error in err.errors(include_url=False)
    ]


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


def tier_problems(tier: TierSpec) -> list[Problem]:
    """What Ray Serve LLM and vLLM would refuse of one tier; paths start at its entry.

    Builds the real `LLMConfig` and asks vLLM for the name and type of each engine argument.
    Downloads nothing; the model itself is not looked at.

    Raises:
        ImportError: when Ray Serve LLM or vLLM is not installed here.
    """
    # Both libraries log at import; a report should hold only the report.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from ray.serve.llm import LLMConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    fields = {
        field.name: field.type
        for args in (AsyncEngineArgs, FrontendArgs) for field in dataclasses.fields(args)
    }  # fmt: skip
    problems = engine_argument_problems(tier.engine_kwargs, fields)
    try:
        config = LLMConfig(**tier.ray_llm_config())
    except ValidationError as err:
        return problems + problems_of(err)
    if not problems:
        problems += _engine_config_problems(config)
    return problems


def _engine_config_problems(config: Any) -> list[Problem]:
    try:
        config.get_engine_config().get_initialization_kwargs()
    except (ValueError, TypeError) as err:
        return [Problem(("engine_kwargs",), str(err))]
    return []


def engine_argument_problems(
    engine_kwargs: Mapping[str, Any], fields: Mapping[str, Any]
) -> list[Problem]:
    """Unknown names and values of the wrong type; `fields` maps each valid name to its type."""
    problems = []
    for name, value in engine_kwargs.items():
        if name not in fields:
            message = _unknown_argument(name, list(fields))
        else:
            message = _wrong_value(value, fields[name])
        if message is not None:
            problems.append(Problem(("engine_kwargs", name), message))
    return problems


def _unknown_argument(name: str, valid: list[str]) -> str:
    sentence = unknown_key(name, valid)
    # Some 270 valid names help nobody.
    return sentence.partition("; valid keys are")[0] + ("" if "did you" in sentence else " to vLLM")


def _wrong_value(value: Any, annotation: Any) -> str | None:
    try:
        parsed = TypeAdapter(annotation).validate_python(value)
    except ValidationError as err:
        return _first_reason(err)
    except PydanticUserError:
        # A type that pydantic cannot check; vLLM will.
        return None
    if isinstance(value, str) and isinstance(parsed, int | float):
        return f"{value!r} is text; write it without quotes"
    return None


def _first_reason(err: ValidationError) -> str:
    first, *_ = problems_of(err)
    inside = ".".join(str(part) for part in first.path)
    return f"{inside}: {first.message}" if inside else first.message
