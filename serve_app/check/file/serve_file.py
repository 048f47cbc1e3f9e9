"""Is a whole Serve file right? Text in, CheckedFile out; every problem at once, with its line.

Ray Serve accepts unknown keys everywhere outside `args` in silence, and reports a bad `args` only
after it has started. What libraries accept is handed in, so that this file imports neither.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from deployments.local_models import resolve_source
from deployments.schemas.problems import Problem, problems_of
from deployments.spec import TierSpec
from serve_app.access.binding import refusal
from serve_app.check.file.document import Document, Finding, Path, parse
from serve_app.check.file.keys import (
    KeyTree,
    key_tree,
    unknown_keys,
    with_runtime_env,
    without_unknown_keys,
)
from serve_app.check.tier.levers import lever_remarks
from serve_app.config import AppConfig, read_tier_file

IMPORT_PATH = "serve_app.app:build"
_UNSIZED = (
    "memory, speed and room on a cluster are judged of the first Tandem application only; check "
    "this one in a file of its own as well"
)


class Libraries(Protocol):
    """What Ray Serve, Ray Serve LLM and vLLM accept; `deployments.schemas.engine` asks them."""

    def serve_file_model(self) -> type[BaseModel]: ...
    def deployment_model(self) -> type[BaseModel]: ...
    def runtime_env_names(self) -> list[str]: ...
    def serve_file_problems(self, document: Mapping[str, Any]) -> list[Problem]: ...
    def tier_problems(self, tier: TierSpec) -> list[Problem]: ...


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What was found. config: the parsed `args` of the first application that Tandem builds, None
    when they have errors; args_path: theirs.
    """

    findings: tuple[Finding, ...]
    document: Document
    config: AppConfig | None = None
    args_path: Path = ()

    @property
    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


def check_text(text: str | bytes, libraries: Libraries) -> CheckedFile:
    """Checks keys and values of the whole file, then each tier with the real libraries."""
    document = parse(text)
    if not isinstance(document.data, dict):
        nothing = Finding((), "the file holds no YAML mapping; see models.yaml for an example")
        return CheckedFile(document.findings or (nothing,), document)
    findings = [
        *document.findings,
        *unknown_keys(document, document.data, _file_keys(libraries), ()),
        *(document.at(p.path, p.message) for p in libraries.serve_file_problems(document.data)),
    ]
    paths: list[Path] = [("applications", i, "args") for i in our_applications(document.data)]
    if not paths:
        findings.append(_no_application(document))
        return CheckedFile(tuple(findings), document)
    configs = []
    for path in paths:
        args = document.data["applications"][path[1]].get("args") or {}
        args_findings, config = _check_args(document, args, path, libraries)
        findings += args_findings
        if config is not None:
            findings += _check_binding(document, config)
            findings += _check_tiers(document, config, path, libraries)
        configs.append(config)
    findings += [document.at(path, _UNSIZED, "warning") for path in paths[1:]]
    return CheckedFile(tuple(_once(findings)), document, configs[0], paths[0])


def _file_keys(libraries: Libraries) -> KeyTree:
    return with_runtime_env(key_tree(libraries.serve_file_model()), libraries.runtime_env_names())


def _args_keys(libraries: Libraries) -> KeyTree:
    """Keys of `args`, with Ray's own where our schema hands a block on to Ray."""
    keys = dict(key_tree(AppConfig))
    deployment = key_tree(libraries.deployment_model())
    keys["llm_configs"] = dict(keys["llm_configs"] or {}) | {"deployment_config": deployment}
    keys["ingress_deployment_config"] = deployment
    return with_runtime_env(keys, libraries.runtime_env_names())


def our_applications(data: dict[str, Any]) -> list[int]:
    """Indices of the applications that Tandem builds; other ones are checked as Ray does."""
    applications = data.get("applications")
    return [
        index
        for index, entry in enumerate(applications if isinstance(applications, list) else [])
        if isinstance(entry, dict) and str(entry.get("import_path")) == IMPORT_PATH
    ]


def _no_application(document: Document) -> Finding:
    message = f"no application has `import_path: {IMPORT_PATH}`, so there are no args to check"
    return document.at(("applications",), message)


def _check_args(
    document: Document, args: Any, path: Path, libraries: Libraries
) -> tuple[list[Finding], AppConfig | None]:
    args, findings = _read_tier_files(document, args, path)
    keys = _args_keys(libraries)
    findings += unknown_keys(document, args, keys, path)
    # Unknown keys would hide what else is wrong beside them.
    known = without_unknown_keys(args, keys)
    try:
        config = AppConfig.model_validate(known)
    except ValidationError as err:
        findings += [document.at((*path, *p.path), p.message) for p in problems_of(err)]
        return findings, None
    return findings, config


def _read_tier_files(document: Document, args: Any, path: Path) -> tuple[Any, list[Finding]]:
    """Puts the content of `llm_configs: [file.yaml]` in place of the names."""
    args, findings = deepcopy(args), []
    entries = args.get("llm_configs") if isinstance(args, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, str):
            try:
                args["llm_configs"][index] = read_tier_file(entry)
            except (ValueError, OSError) as err:
                findings.append(document.at((*path, "llm_configs", index), str(err)))
    return args, findings


def _check_binding(document: Document, config: AppConfig) -> Iterator[Finding]:
    options = document.data.get("http_options") or {}
    # Ray's own default in a file that does not say.
    host = options.get("host", "0.0.0.0") if isinstance(options, dict) else "0.0.0.0"
    why_not = refusal(host, config.auth)
    if why_not is not None:
        yield document.at(("http_options", "host"), why_not)


def _check_tiers(
    document: Document, config: AppConfig, path: Path, libraries: Libraries
) -> Iterator[Finding]:
    if all(tier.may_sleep for tier in config.llm_configs):
        message = (
            "every tier has `min_replicas: 0`: at first nobody is there to answer, and whoever "
            "comes waits for a cold start; give one of them, the smallest, `min_replicas: 1`"
        )
        yield document.at((*path, "llm_configs"), message, severity="warning")
    for index, tier in enumerate(config.llm_configs):
        here = (*path, "llm_configs", index)
        yield from _advice(document, tier, here)
        for remark in lever_remarks(tier):
            yield document.at((*here, *remark.path), remark.message, severity=remark.severity)
        if tier.fake is not None:
            continue
        try:
            resolve_source(tier.model_loading_config.model_source)
        except ValueError as err:
            yield document.at((*here, "model_loading_config", "model_source"), str(err))
        try:
            problems = libraries.tier_problems(tier)
        except ImportError as err:
            message = f"engine_kwargs were not checked: {err}"
            yield document.at(here, message, severity="warning")
            continue
        yield from (document.at((*here, *p.path), p.message) for p in problems)


def _advice(document: Document, tier: TierSpec, path: Path) -> Iterator[Finding]:
    here = (*path, "engine_kwargs", "quantization")
    if str(tier.engine_kwargs.get("quantization")).lower() == "awq":
        message = (
            "remove it: vLLM reads AWQ from the checkpoint, and naming it turns the fast Marlin "
            "kernels off (vllm issue 21376)"
        )
        yield document.at(here, message, severity="warning")
    if tier.engine_kwargs.get("trust_remote_code"):
        message = (
            "runs code from the model's repository on this machine, with all it may do; review "
            "that code and pin `revision`, or use a model that needs none"
        )
        yield document.at((*path, "engine_kwargs", "trust_remote_code"), message, "warning")


def _once(findings: list[Finding]) -> list[Finding]:
    """Drops what two checkers said of the same place, keeping the first."""
    seen: dict[tuple[Path, str], Finding] = {}
    for finding in findings:
        seen.setdefault((finding.path, finding.message), finding)
    return list(seen.values())
