"""A comparison as a table for people."""

from typing import Any

from rich.table import Table


def table_of(said: dict[str, Any], title: str) -> Table:
    """One line per policy, best quality-weighted goodput first, the clairvoyant above all."""
    table = Table(
        title=title,
        title_justify="left",
        caption="good: quality x replies in time, per second; of c.: share of the clairvoyant's",
        caption_justify="left",
    )
    table.add_column("policy", no_wrap=True)
    for heading in ("in time", "good", "±", "of c.", "$/1k", "taken", "p95 s", "best"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("clairvoyant", *_cells(said["clairvoyant"]), style="dim")
    ranked = sorted(said["policies"].items(), key=lambda item: -item[1]["quality_goodput"])
    for name, means in ranked:
        table.add_row(name, *_cells(means), style="bold" if name == "ours" else None)
    return table


def _cells(means: dict[str, Any]) -> list[str]:
    low, high = means["ci"]["quality_goodput"]
    share, usd = means.get("of_clairvoyant"), means["usd_per_1k_good_tokens"]
    return [
        f"{means['attainment']:.3f}",
        f"{means['quality_goodput']:.4g}",
        f"{(high - low) / 2:.2g}",
        "" if share is None else f"{share:.3f}",
        "" if usd is None else f"{1000 * usd:.2f}m",
        f"{means['accept_rate']:.2f}",
        "" if means["e2e_s"]["p95"] is None else f"{means['e2e_s']['p95']:.1f}",
        f"{means['best_tier_share']:.2f}",
    ]
