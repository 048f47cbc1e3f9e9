"""A YAML file with the line of each key. Text in, Document out; knows no schema."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to say about a file. line: 1-based; None where no line is at fault."""

    path: Path
    message: str
    line: int | None = None
    severity: Severity = "error"

    @property
    def where(self) -> str:
        """The path as one reads it: `applications[0].args.slo_classes`."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return "".join(parts).removeprefix(".")


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file. data: plain dicts and lists; None when it is not YAML."""

    data: Any
    lines: dict[Path, int]
    findings: tuple[Finding, ...] = ()

    def line(self, path: Path) -> int | None:
        """Line of the key at `path`, or of the nearest thing around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def at(self, path: Path, message: str, severity: Severity = "error") -> Finding:
        return Finding(path, message, self.line(path), severity)


def parse(text: str | bytes) -> Document:
    """Parses YAML; syntax errors and keys written twice become findings.

    Args:
        text: bytes of a file may be in no encoding that YAML knows, which is a finding too.

    PyYAML keeps the last of two equal keys in silence, and so would Ray.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as err:
        # A bare ValueError is what PyYAML says of a date such as 2026-13-45.
        return Document(None, {}, (_syntax_error(err),))
    lines: dict[Path, int] = {}
    findings = []
    for path, line in _keys(root, ()) if root is not None else ():
        if path in lines:
            message = f"written twice, first on line {lines[path]}; only the last would count"
            findings.append(Finding(path, message, line))
        lines[path] = line
    return Document(data, lines, tuple(findings))


def _syntax_error(err: Exception) -> Finding:
    mark = getattr(err, "problem_mark", None)
    problem = getattr(err, "problem", None) or " ".join(str(err).split())
    return Finding((), f"not YAML: {problem}", mark.line + 1 if mark is not None else None)


def _keys(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    """Each key and list index below `node` with its line, in the file's order."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _keys(value, here)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _keys(item, (*path, index))
