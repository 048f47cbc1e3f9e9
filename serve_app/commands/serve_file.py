"""The Serve file that `tandem up` runs, derived from the one that the user wrote.

In: a parsed file and the command's options. Out: plain data; writes nothing.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deployments.local_models import embedded_name
from deployments.spec import FakeTiming, TierSpec
from serve_app.config import AppConfig

OUR_IMPORT_PATH = "serve_app.app:build"


@dataclass(frozen=True, slots=True)
class ServeFile:
    """A Serve config file, with the tiers of Tandem's own applications in it."""

    content: dict[str, Any]
    tiers: tuple[TierSpec, ...]

    @property
    def host(self) -> str:
        """Where a client on this machine reaches it."""
        host = self._http_options.get("host", "127.0.0.1")
        return "127.0.0.1" if host == "0.0.0.0" else str(host)

    @property
    def port(self) -> int:
        return int(self._http_options.get("port", 8000))

    @property
    def embedded_models(self) -> list[str]:
        """Names of the embedded models that its tiers load."""
        sources = [t.model_loading_config.model_source for t in self.tiers if t.fake is None]
        return [name for name in map(embedded_name, sources) if name is not None]

    @property
    def is_offline(self) -> bool:
        """Whether no tier loads anything but embedded models."""
        return len(self.embedded_models) == sum(tier.fake is None for tier in self.tiers)

    @property
    def _http_options(self) -> dict[str, Any]:
        return self.content.get("http_options") or {}


def read_serve_file(path: Path) -> ServeFile:
    """Reads and validates a file.

    Raises:
        ValueError: when it is missing, not YAML, not a Serve file, or its `args` are wrong.
    """
    if not path.is_file():
        raise ValueError(f"the file {str(path)!r} does not exist")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError) as err:
        reason = " ".join(str(err).split())
        raise ValueError(f"the file {str(path)!r} is no YAML: {reason}") from err
    if not isinstance(content, dict) or not content.get("applications"):
        raise ValueError(f"{str(path)!r} has no `applications`: it is not a Serve config file")
    applications = content["applications"]
    if not isinstance(applications, list) or not all(isinstance(a, dict) for a in applications):
        raise ValueError(f"{str(path)!r}: `applications` is no list of mappings, one for each")
    return parse(content)


def derive(file: ServeFile, *, is_fake: bool, port: int | None) -> ServeFile:
    """The file with timed fakes in place of models, or on another port."""
    content = copy.deepcopy(file.content)
    if port is not None:
        content["http_options"] = (content.get("http_options") or {}) | {"port": port}
    if is_fake:
        for application in our_applications(content):
            config = AppConfig.model_validate(application["args"])
            application["args"]["llm_configs"] = [fake_tier(tier) for tier in config.llm_configs]
    return parse(content)


def parse(content: dict[str, Any]) -> ServeFile:
    configs = [AppConfig.model_validate(app.get("args")) for app in our_applications(content)]
    return ServeFile(content, tuple(tier for config in configs for tier in config.llm_configs))


def our_applications(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [app for app in content["applications"] if app.get("import_path") == OUR_IMPORT_PATH]


def fake_tier(tier: TierSpec) -> dict[str, Any]:
    """The tier as the router sees it, served by a timed fake: what concerns engines is left out."""
    kept = tier.model_dump(include={"deployment_config", "routing"}, exclude_unset=True)
    timing = (tier.fake or FakeTiming.model_validate({})).model_dump(exclude_unset=True)
    return {"model_loading_config": {"model_id": tier.model_id}, **kept, "fake": timing}
