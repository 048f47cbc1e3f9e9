"""A check's report for people. Report in, lines and tables on a console out."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from serve_app.check.file.document import Finding
from serve_app.check.report import Report
from serve_app.check.tier.sizing import PROMPT_TOKENS, SEQUENCE_TOKENS


def show(report: Report, console: Console) -> None:
    """Prints findings, what fits, what is fast enough, and the verdict."""
    for finding in report.findings:
        show_finding(finding, report.file, console)
    if report.tiers:
        console.print(_tier_table(report))
    if report.classes:
        console.print(_class_table(report))
        console.print(
            "Times of the first token, of each later one and of the whole reply, and the least e2e "
            "that would be met, are computed from published figures, an idle tier and "
            f"{PROMPT_TOKENS} prompt tokens; the engine measures itself when it starts.",
            style="dim",
        )
    count = len(report.errors)
    if count:
        console.print(f"{report.file}: {count} error{'s' * (count > 1)}.", style="bold red")
        return
    console.print(f"{report.file} is fine.", style="bold green")


def show_finding(finding: Finding, file: str, console: Console) -> None:
    style = "red" if finding.severity == "error" else "yellow"
    place = f"{file}:{finding.line}" if finding.line else file
    # Not as markup: paths hold square brackets.
    console.print(f"{finding.severity} {place}", style=style, markup=False, highlight=False)
    text = f"  {finding.where}: {finding.message}" if finding.where else f"  {finding.message}"
    console.print(text, markup=False, highlight=False)


NARROW: dict[str, Any] = {
    "box": SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0),
    "title_justify": "left",
}  # fmt: skip
"""A table that fits 80 columns with two names and six numbers."""


def _tier_table(report: Report) -> Table:
    columns = (
        "tier", "on", "weights", "KV cache",
        f"replies of {SEQUENCE_TOKENS} tokens", "fits",
    )  # fmt: skip
    table = titled("What fits", columns)
    for size in report.tiers:
        fits = "unknown" if size.kv_bytes is None else "no" if size.problem else "yes"
        sequences = "?" if size.sequences is None else str(size.sequences)
        on = f"{size.accelerators} x {size.accelerator}" if size.accelerators else "fake"
        table.add_row(size.tier, on, _gb(size.weights_bytes), _gb(size.kv_bytes), sequences, fits)
    return table


def _class_table(report: Report) -> Table:
    table = Table("class", "tier", title="What an idle tier can promise", **NARROW)
    for name in ("tokens", "first", "each", "whole", "P(met)", "least"):
        table.add_column(name, justify="right", no_wrap=True)
    for verdict in report.classes:
        candidate = verdict.candidate
        time = candidate.idle.time
        table.add_row(
            verdict.slo_class, verdict.tier, f"{candidate.output_tokens:.0f}",
            f"{time.ttft_s:.2f} s", f"{time.step_s * 1000:.1f} ms", f"{candidate.idle_e2e_s:.2f} s",
            f"{candidate.probability:.2f}{'' if verdict.is_feasible else ' no'}",
            f"{candidate.smallest_e2e_s:.2f} s",
        )  # fmt: skip
    return table


def titled(title: str, columns: tuple[str, ...]) -> Table:
    """An empty table whose cells fold instead of being cut."""
    table = Table(title=title, **NARROW)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _gb(amount: float | None) -> str:
    return "?" if amount is None else f"{max(0.0, amount) / 1e9:.1f} GB"
