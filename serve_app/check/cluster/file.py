"""Is a cluster file right, and does it hold the tiers? Text in, CheckedCluster out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Protocol

from deployments.schemas.problems import Problem
from deployments.spec import TierSpec
from serve_app.check.cluster.fit import TierFit, fit
from serve_app.check.cluster.gcp import NODE_CONFIG_KEYS
from serve_app.check.cluster.iam import needed_actions, policy_problems
from serve_app.check.cluster.kuberay import SERVICE_KEYS, for_pods, is_kuberay
from serve_app.check.cluster.nodes import NodeType, kuberay_nodes, launcher_nodes
from serve_app.check.cluster.prices import NodeCost, costs
from serve_app.check.file.document import Document, Finding, Path, parse
from serve_app.check.file.keys import unknown_keys

_PLACEHOLDER = "CHANGE-ME"


class Launcher(Protocol):
    """What Ray's launcher and EC2 accept; `deployments.schemas.cluster` asks them."""

    def ray_version(self) -> str: ...
    def cluster_file_problems(self, content: dict[str, Any]) -> list[Problem]: ...
    def ec2_problems(self, node_config: Mapping[str, Any]) -> list[Problem]: ...


@dataclass(frozen=True, slots=True)
class CheckedCluster:
    """Everything there is to say of a file; empty beyond `findings` when it has errors.

    actions: AWS actions by who needs them.
    """

    file: str
    findings: tuple[Finding, ...]
    tiers: tuple[TierFit, ...] = ()
    costs: tuple[NodeCost, ...] = ()
    actions: Mapping[str, tuple[str, ...]] | None = None

    @property
    def is_fine(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


def check_cluster(
    file: FilePath, models: dict[str, Any], tiers: tuple[TierSpec, ...], launcher: Launcher
) -> CheckedCluster:
    """Checks keys and values first, then whether the nodes hold the tiers of models.yaml."""
    document = parse(file.read_bytes())
    findings = [*document.findings, *_find(document, models, launcher)]
    if any(finding.severity == "error" for finding in findings):
        return CheckedCluster(str(file), tuple(findings))
    content = document.data
    is_pods = is_kuberay(content)
    try:
        nodes = kuberay_nodes(content) if is_pods else launcher_nodes(content)
    except (LookupError, TypeError, ValueError, AttributeError) as err:
        # Neither Ray's schema nor a list of keys says that a pod must have a container.
        findings.append(Finding((), f"its nodes cannot be read: {type(err).__name__}: {err}"))
        return CheckedCluster(str(file), tuple(findings))
    num_workers = sum(node.num_at_most for node in nodes)
    fits = fit(tiers, nodes, num_workers if is_pods else content.get("max_workers", num_workers))
    findings += _say_of_fits(document, fits.tiers, nodes)
    actions = None
    if not is_pods and content["provider"]["type"] == "aws":
        actions = needed_actions(content)
        findings += [Finding((), said) for said in policy_problems(file.parent, actions)]
    return CheckedCluster(
        str(file), tuple(findings), fits.tiers, tuple(costs(nodes, fits)), actions
    )


def _find(document: Document, models: dict[str, Any], launcher: Launcher) -> Iterator[Finding]:
    content = document.data
    if not isinstance(content, dict):
        if not document.findings:
            yield Finding((), "the file holds no YAML mapping; see cluster/ for examples")
        return
    yield from _placeholders(document, content, ())
    if is_kuberay(content):
        yield from _find_in_service(document, content, models, launcher)
        return
    problems = launcher.cluster_file_problems(content)
    yield from (document.at(problem.path, problem.message) for problem in problems)
    provider = content.get("provider")
    kind = provider.get("type") if isinstance(provider, dict) else None
    node_types = content.get("available_node_types")
    for name, entry in (node_types if isinstance(node_types, dict) else {}).items():
        config = entry.get("node_config") if isinstance(entry, dict) else None
        here: Path = ("available_node_types", name, "node_config")
        if kind == "aws" and isinstance(config, dict):
            for problem in launcher.ec2_problems(config):
                yield document.at((*here, *problem.path), problem.message)
        if kind == "gcp":
            yield from unknown_keys(document, config, NODE_CONFIG_KEYS, here)


def _find_in_service(
    document: Document, content: dict[str, Any], models: dict[str, Any], launcher: Launcher
) -> Iterator[Finding]:
    wrong = list(unknown_keys(document, content, SERVICE_KEYS, ()))
    yield from wrong
    if wrong:
        return
    spec = content.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("rayClusterConfig"), dict):
        yield document.at(("spec",), "a RayService needs spec.rayClusterConfig")
        return
    if parse(str(spec.get("serveConfigV2", ""))).data != for_pods(models):
        yield document.at(
            ("spec", "serveConfigV2"),
            "it is not what models.yaml says, with host 0.0.0.0 and keys from the environment; "
            "make it anew: python -m serve_app.check.cluster.kuberay",
        )
    version = str(spec["rayClusterConfig"].get("rayVersion"))
    if version != launcher.ray_version():
        yield document.at(
            ("spec", "rayClusterConfig", "rayVersion"),
            f"the file says Ray {version} and {launcher.ray_version()} is installed here; the "
            "image, this key and the installed Ray must agree",
        )


def _placeholders(document: Document, value: Any, path: Path) -> Iterator[Finding]:
    """A warning for the first of each text that is still to be replaced."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _placeholders(document, inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _placeholders(document, inner, (*path, index))
    if isinstance(value, str) and _PLACEHOLDER in value and path in document.lines:
        yield document.at(path, f"replace {_PLACEHOLDER}", severity="warning")


def _say_of_fits(
    document: Document, fits: tuple[TierFit, ...], nodes: list[NodeType]
) -> Iterator[Finding]:
    where: Path = nodes[0].path[:1] if nodes else ()
    for tier in fits:
        if not tier.node_types:
            lacks = " and ".join(f"{amount:g} {name}" for name, amount in tier.missing.items())
            message = f"no kind of node holds a replica of {tier.tier}: the nearest lacks {lacks}"
            yield document.at(where, message)
        elif not tier.has_least:
            message = f"{tier.tier} needs {tier.num_at_least} replicas at least, and with the "
            yield document.at(where, message + "other tiers there is no room for so many")
        elif tier.num_placed < tier.num_at_most:
            message = (
                f"{tier.tier} may grow to {tier.num_at_most} replicas, and when all tiers do, "
                f"there is room for {tier.num_placed}; add nodes or lower max_replicas"
            )
            yield document.at(where, message, severity="warning")
