"""What Ray Serve, Ray Serve LLM and vLLM would accept. Dicts in, problems out; starts nothing.

Asks the installed libraries themselves, offline. They are imported inside functions: Ray Serve's
schemas take 2 s, Ray Serve LLM and vLLM 10 s.
"""

import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from deployments.schemas.problems import Problem, first_reason, problems_of
from deployments.spec import TierSpec, unknown_key


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


def tier_problems(tier: TierSpec) -> list[Problem]:
    """What Ray Serve LLM and vLLM would refuse of one tier; paths start at its entry.

    Builds the real `LLMConfig` and asks vLLM for the name and type of each engine argument.
    Downloads nothing; the model itself is not looked at.

    Raises:
        ImportError: when Ray Serve LLM or vLLM is not installed here.
    """
    with _quiet():
        from ray.serve.llm import LLMConfig

        problems = engine_argument_problems(tier.engine_kwargs, _engine_arguments())
        try:
            config = LLMConfig(**tier.ray_llm_config())
        except ValidationError as err:
            return problems + problems_of(err)
        return problems or _engine_config_problems(tier, config)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' log lines out of a report, and Hugging Face out of the network."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _engine_arguments() -> dict[str, Any]:
    """Names that vLLM takes as `engine_kwargs`, with their types."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    return {
        field.name: field.type
        for arguments in (AsyncEngineArgs, FrontendArgs)
        for field in dataclasses.fields(arguments)
    }


def _engine_config_problems(tier: TierSpec, config: Any) -> list[Problem]:
    """What Ray Serve LLM refuses only when it builds the deployment."""
    owned = {"placement_group_bundles", "placement_group_strategy"} & set(tier.deployment_config)
    problems = [
        Problem(("deployment_config", key), "belongs in placement_group_config of this entry")
        for key in sorted(owned)
    ]
    try:
        config.get_engine_config().get_initialization_kwargs()
    except (ValueError, TypeError) as err:
        problems.append(Problem(("engine_kwargs",), str(err)))
    return problems


def engine_argument_problems(
    engine_kwargs: Mapping[str, Any], fields: Mapping[str, Any]
) -> list[Problem]:
    """Unknown names and values of the wrong type; `fields` maps each valid name to its type."""
    problems = []
    for name, value in engine_kwargs.items():
        message = (
            _wrong_value(value, fields[name]) if name in fields
            else _unknown_argument(name, list(fields))
        )  # fmt: skip
        if message is not None:
            problems.append(Problem(("engine_kwargs", name), message))
    return problems


def _unknown_argument(name: str, valid: list[str]) -> str:
    sentence = unknown_key(name, valid)
    if "did you mean" in sentence:
        return sentence
    # Some 270 valid names help nobody.
    return f"unknown key {name!r}, and no argument of vLLM is called anything like it"


def _wrong_value(value: Any, annotation: Any) -> str | None:
    try:
        parsed = TypeAdapter(annotation).validate_python(value)
    except ValidationError as err:
        return first_reason(err)
    except PydanticUserError:
        # A type that pydantic cannot check; vLLM will.
        return None
    if isinstance(value, str) and isinstance(parsed, int | float):
        return f"{value!r} is text; write it without quotes"
    return None
