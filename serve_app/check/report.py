"""The verdict of `tandem check`. A checked file in, tables for people or a dict for programs out."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.check.document import Finding
from serve_app.check.serve_file import CheckedFile
from serve_app.check.sizing import (
    PROMPT_TOKENS,
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
    if checked.config is None:
        return Report(file, checked.findings)
    config = checked.config
    sizes = [size_tier(tier) for tier in config.llm_configs]
    verdicts = judge_classes(config, sizes)
    findings = [*checked.findings, *_tier_findings(sizes), *_class_findings(config, verdicts)]
    return Report(file, tuple(findings), tuple(sizes), tuple(verdicts))


def _tier_findings(sizes: list[TierSize]) -> list[Finding]:
    findings = []
    for size in sizes:
        if size.problem is not None:
            findings.append(Finding(("llm_configs", size.tier), size.problem))
        if size.unknown is not None:
            message = f"memory and speed are unknown before the first run: {size.unknown}"
            findings.append(Finding(("llm_configs", size.tier), message, severity="warning"))
    return findings


def _class_findings(config: AppConfig, verdicts: list[ClassVerdict]) -> list[Finding]:
    findings = []
    are_all_known = len({v.tier for v in verdicts}) == len(config.llm_configs)
    for name, slo_class in config.slo_classes.items():
        mine = [verdict for verdict in verdicts if verdict.slo_class == name]
        if not mine or any(verdict.is_feasible for verdict in mine):
            continue
        smallest = min(verdict.candidate.smallest_e2e_s for verdict in mine)
        is_refused = slo_class.on_infeasible == "reject" and are_all_known
        message = "no tier meets it, not even when idle"
        if slo_class.e2e_ms is not None:
            message += f"; the smallest feasible e2e_ms is {smallest * 1000:.0f}"
        outcome = "be refused" if slo_class.on_infeasible == "reject" else "go to the fastest tier"
        message += f"; its usual requests will {outcome}"
        severity = "error" if is_refused else "warning"
        findings.append(Finding(("slo_classes", name), message, severity=severity))
    return findings


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
        "output_tokens": candidate.output_tokens,
        "idle_e2e_ms": round(candidate.idle_time.e2e_s * 1000, 1),
        "idle_ttft_ms": round(candidate.idle_time.ttft_s * 1000, 1),
        "idle_tpot_ms": round(candidate.idle_time.step_s * 1000, 2),
        "probability": round(candidate.probability, 4),
        "is_feasible": candidate.is_feasible,
        "smallest_e2e_ms": round(candidate.smallest_e2e_s * 1000, 1),
    }


def show(report: Report, console: Console) -> None:
    """Prints findings, what fits, what is fast enough, and the verdict."""
    for finding in report.findings:
        _show_finding(finding, report.file, console)
    if report.tiers:
        console.print(_tier_table(report))
    if report.classes:
        console.print(_class_table(report))
        console.print(
            "Times are computed from published figures, an idle tier and "
            f"{PROMPT_TOKENS} prompt tokens; the engine measures itself when it starts.",
            style="dim",
        )
    count = len(report.errors)
    if count:
        console.print(f"{report.file}: {count} error{'s' * (count > 1)}.", style="bold red")
        return
    console.print(f"{report.file} is fine.", style="bold green")


def _show_finding(finding: Finding, file: str, console: Console) -> None:
    style = "red" if finding.severity == "error" else "yellow"
    place = f"{file}:{finding.line}" if finding.line else file
    # Not as markup: paths hold square brackets.
    console.print(f"{finding.severity} {place}", style=style, markup=False, highlight=False)
    text = f"  {finding.where}: {finding.message}" if finding.where else f"  {finding.message}"
    console.print(text, markup=False, highlight=False)


def _tier_table(report: Report) -> Table:
    columns = (
        "tier", "on", "weights per GPU", "KV per GPU", f"replies of {SEQUENCE_TOKENS} tokens", "fits"
    )  # fmt: skip
    table = _table("What fits", columns)
    for size in report.tiers:
        fits = "unknown" if size.kv_bytes is None else "no" if size.problem else "yes"
        sequences = "?" if size.sequences is None else str(size.sequences)
        on = f"{size.accelerators} x {size.accelerator}" if size.accelerators else "fake"
        table.add_row(size.tier, on, _gb(size.weights_bytes), _gb(size.kv_bytes), sequences, fits)
    return table


def _class_table(report: Report) -> Table:
    columns = (
        "class", "tier", "reply tokens", "first token", "per token", "whole reply",
        "probability", "feasible", "smallest e2e_ms",
    )  # fmt: skip
    table = _table("What an idle tier can promise", columns)
    for verdict in report.classes:
        candidate = verdict.candidate
        time = candidate.idle_time
        table.add_row(
            verdict.slo_class, verdict.tier, str(candidate.output_tokens),
            f"{time.ttft_s * 1000:.0f} ms", f"{time.step_s * 1000:.1f} ms", f"{time.e2e_s:.2f} s",
            f"{candidate.probability:.2f}", "yes" if verdict.is_feasible else "no",
            f"{candidate.smallest_e2e_s * 1000:.0f}",
        )  # fmt: skip
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name)
    return table


def _gb(amount: float | None) -> str:
    return "?" if amount is None else f"{amount / 1e9:.1f} GB"
