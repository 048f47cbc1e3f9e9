"""The verdict of `tandem check`. A checked file in, a Report and its JSON out; prints nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serve_app.check.file.document import Finding, Path, Severity
from serve_app.check.file.serve_file import CheckedFile
from serve_app.check.tier.sizing import (
    SEQUENCE_TOKENS,
    ClassVerdict,
    TierSize,
    judge_classes,
    size_tier,
)
from serve_app.config import AppConfig


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that `tandem check` says of a file."""

    file: str
    findings: tuple[Finding, ...]
    tiers: tuple[TierSize, ...] = ()
    classes: tuple[ClassVerdict, ...] = ()

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def is_fine(self) -> bool:
        return not self.errors


def make_report(file: str, checked: CheckedFile) -> Report:
    """Adds what fits and what is fast enough to what was found."""
    if checked.config is None or checked.has_errors:
        # Sizes computed from values that are wrong would only mislead.
        return Report(file, checked.findings)
    config = checked.config
    sizes = [size_tier(tier) for tier in config.llm_configs]
    verdicts = judge_classes(config, sizes)
    said = [*_say_of_tiers(sizes), *_say_of_classes(config, verdicts)]
    findings = [
        checked.document.at((*checked.args_path, *path), message, severity)
        for path, message, severity in said
    ]
    return Report(file, (*checked.findings, *findings), tuple(sizes), tuple(verdicts))


def _say_of_tiers(sizes: list[TierSize]) -> Iterator[tuple[Path, str, Severity]]:
    for index, size in enumerate(sizes):
        path: Path = ("llm_configs", index)
        if size.problem is not None:
            yield (*path, "engine_kwargs"), size.problem, "error"
        if size.unknown is not None:
            message = f"memory and speed are unknown before the first run: {size.unknown}"
            yield path, message, "warning"


def _say_of_classes(
    config: AppConfig, verdicts: list[ClassVerdict]
) -> Iterator[tuple[Path, str, Severity]]:
    are_all_known = len({v.tier for v in verdicts}) == len(config.llm_configs)
    for name, slo_class in config.slo_classes.items():
        mine = [verdict for verdict in verdicts if verdict.slo_class == name]
        if not mine or any(verdict.is_feasible for verdict in mine):
            continue
        is_rejected = not {"degrade", "fit"} & set(slo_class.on_infeasible)
        message = "no tier of known speed meets it, not even when idle"
        if slo_class.e2e_ms is not None:
            smallest_s = min(verdict.candidate.smallest_e2e_s for verdict in mine)
            message += f"; the smallest feasible e2e_ms is {smallest_s * 1000:.0f}"
        message += "; usual requests will "
        message += "be refused" if is_rejected else "be served by the likeliest tier all the same"
        severity: Severity = "error" if is_rejected and are_all_known else "warning"
        yield ("slo_classes", name), message, severity


def as_dict(report: Report) -> dict[str, Any]:
    """The report as JSON: bytes, milliseconds and tokens in the names."""
    return {
        "file": report.file,
        "is_fine": report.is_fine,
        "findings": [
            {"severity": f.severity, "line": f.line, "where": f.where, "message": f.message}
            for f in report.findings
        ],
        "tiers": [_tier_dict(size) for size in report.tiers],
        "classes": [_class_dict(verdict) for verdict in report.classes],
    }


def _tier_dict(size: TierSize) -> dict[str, Any]:
    return {
        "tier": size.tier,
        "accelerator": size.accelerator,
        "accelerators": size.accelerators,
        "weights_bytes_per_accelerator": size.weights_bytes,
        "kv_bytes_per_accelerator": size.kv_bytes,
        "kv_tokens": size.kv_tokens,
        "sequences": size.sequences,
        "sequence_tokens": SEQUENCE_TOKENS,
        "fits": None if size.kv_bytes is None else size.problem is None,
        "unknown": size.unknown,
    }


def _class_dict(verdict: ClassVerdict) -> dict[str, Any]:
    candidate = verdict.candidate
    return {
        "class": verdict.slo_class,
        "tier": verdict.tier,
        "prompt_tokens": candidate.prompt_tokens,
        "output_tokens": round(candidate.output_tokens),
        "idle_e2e_ms": round(candidate.idle_e2e_s * 1000, 1),
        "idle_ttft_ms": round(candidate.idle.time.ttft_s * 1000, 1),
        "idle_tpot_ms": round(candidate.idle.time.step_s * 1000, 2),
        "probability": round(candidate.probability, 4),
        "is_feasible": candidate.is_feasible,
        "smallest_e2e_ms": round(candidate.smallest_e2e_s * 1000, 1),
    }
