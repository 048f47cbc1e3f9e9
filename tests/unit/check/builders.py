"""Serve files and libraries for the tests of `tandem check`; nothing here needs Ray or vLLM."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from deployments.schemas.problems import Problem
from deployments.spec import TierSpec
from serve_app.config import AppConfig


class _Autoscaling(BaseModel):
    min_replicas: int = 1
    max_replicas: int = 1


class _ActorOptions(BaseModel):
    num_cpus: float = 1
    runtime_env: dict[str, Any] = {}


class _Deployment(BaseModel):
    num_replicas: int = 1
    autoscaling_config: dict[str, Any] | _Autoscaling = {}
    ray_actor_options: _ActorOptions | None = None


class _Http(BaseModel):
    host: str = "0.0.0.0"
    port: int = 8000


class _Application(BaseModel):
    name: str = "default"
    import_path: str
    args: dict[str, Any] = {}
    deployments: list[_Deployment] = []


class _File(BaseModel):
    http_options: _Http = _Http()
    applications: list[_Application] = []


class SmallLibraries:
    """Schemas with a few of Ray's names; `problems` is what the engine has against any tier."""

    def __init__(self, problems: list[Problem] | None = None, *, has_engine: bool = True) -> None:
        self._problems = problems or []
        self._has_engine = has_engine

    def serve_file_model(self) -> type[BaseModel]:
        return _File

    def deployment_model(self) -> type[BaseModel]:
        return _Deployment

    def runtime_env_names(self) -> list[str]:
        return ["env_vars", "working_dir"]

    def serve_file_problems(self, document: Mapping[str, Any]) -> list[Problem]:
        return []

    def tier_problems(self, tier: TierSpec) -> list[Problem]:
        if not self._has_engine:
            raise ImportError("No module named 'vllm'")
        return self._problems


SERVE_FILE = """\
http_options: {port: 8000, host: 127.0.0.1}
applications:
- name: tandem
  import_path: serve_app.app:build
  args:
    llm_configs:
    - model_loading_config: {model_id: zephyr-7b}
      engine_kwargs: {max_model_len: 4096}
      deployment_config:
        autoscaling_config: {min_replicas: 1}
      runtime_env: {env_vars: {A: "1"}}
      routing: {quality: {default: 7.3}, accelerator: A6000}
    slo_classes:
      whatsapp: {e2e_ms: 5000}
    routing: {default_slo_class: whatsapp}
"""


def a_serve_file(**replaced: str) -> str:
    """SERVE_FILE with words replaced: `a_serve_file(port="prt")`."""
    text = SERVE_FILE
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text


def a_tier(
    model_id: str = "zephyr-7b", accelerator: str | None = "A6000", **keys: Any
) -> dict[str, Any]:
    """One `llm_configs` entry."""
    routing = {"accelerator": accelerator, "quality": {"default": 1.0}}
    return {"model_loading_config": {"model_id": model_id}, "routing": routing, **keys}


def a_config(*tiers: Any, **keys: Any) -> AppConfig:
    return AppConfig.model_validate({"llm_configs": list(tiers) or [a_tier()], **keys})
