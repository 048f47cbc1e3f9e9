"""The verdict on a cluster file, as JSON and for people."""

from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.check.cluster.file import CheckedCluster
from serve_app.check.cluster.prices import HOURS_PER_MONTH, NodeCost
from serve_app.check.tables import show_finding


def as_dict(checked: CheckedCluster) -> dict[str, Any]:
    """The report as JSON; prices in USD per hour, on demand."""
    return {
        "object": "tandem.check.cluster",
        "file": checked.file,
        "is_fine": checked.is_fine,
        "findings": [
            {"severity": f.severity, "line": f.line, "where": f.where, "message": f.message}
            for f in checked.findings
        ],
        "tiers": [
            {
                "tier": tier.tier,
                "needs": dict(tier.needs),
                "replicas_at_least": tier.num_at_least,
                "replicas_at_most": tier.num_at_most,
                "replicas_placed": tier.num_placed,
                "node_types": list(tier.node_types),
            }
            for tier in checked.tiers
        ],
        "costs": [_cost_dict(cost) for cost in checked.costs],
        "aws_actions": checked.actions,
    }


def _cost_dict(cost: NodeCost) -> dict[str, Any]:
    return {
        "node_type": cost.node.name,
        "instance": cost.node.instance,
        "usd_per_hour": cost.price.usd_per_hour if cost.price else None,
        "as_of": cost.price.as_of if cost.price else None,
        "source": cost.price.source if cost.price else None,
        "nodes_idle": cost.num_idle,
        "nodes_busy": cost.num_busy,
        "is_spot": cost.node.is_spot,
    }


def show(checked: CheckedCluster, console: Console) -> None:
    """Prints findings, what fits, what it costs, what AWS must allow, and the verdict."""
    for finding in checked.findings:
        show_finding(finding, checked.file, console)
    if checked.tiers:
        console.print(_fit_table(checked))
    if checked.costs:
        console.print(_cost_table(checked))
    for name, actions in (checked.actions or {}).items():
        console.print(f"AWS must allow the {name}: {', '.join(actions)}", style="dim")
    if checked.is_fine:
        console.print(f"{checked.file} is fine.", style="bold green")
        return
    count = sum(finding.severity == "error" for finding in checked.findings)
    console.print(f"{checked.file}: {count} error{'s' * (count > 1)}.", style="bold red")


def _fit_table(checked: CheckedCluster) -> Table:
    table = Table(title="What fits", title_justify="left")
    for name in ("tier", "one replica needs", "on", "replicas", "room for"):
        table.add_column(name, overflow="fold")
    for tier in checked.tiers:
        needs = ", ".join(f"{amount:g} {name}" for name, amount in tier.needs.items())
        replicas = f"{tier.num_at_least} to {tier.num_at_most}"
        table.add_row(
            tier.tier, needs, ", ".join(tier.node_types) or "none", replicas, str(tier.num_placed)
        )
    return table


def _cost_table(checked: CheckedCluster) -> Table:
    table = Table(
        title="What it costs: on-demand list prices in USD, without disks, traffic and taxes",
        title_justify="left",
        caption="idle: deployed, every tier at its fewest replicas. busy: at its most. A month has "
        f"{HOURS_PER_MONTH} hours. Spot costs less and changes by the hour.",
        caption_justify="left",
    )
    for name in ("nodes", "instance", "each", "as of", "idle", "busy"):
        table.add_column(name, overflow="fold")
    for cost in checked.costs:
        node, price = cost.node, cost.price
        table.add_row(
            f"{node.name}{' (spot)' if node.is_spot else ''}", node.instance,
            _usd(cost.usd_per_hour(1)), price.as_of if price else "",
            f"{cost.num_idle} x", f"{cost.num_busy} x",
        )  # fmt: skip
    idle = sum(cost.usd_per_hour(cost.num_idle) or 0.0 for cost in checked.costs)
    busy = sum(cost.usd_per_hour(cost.num_busy) or 0.0 for cost in checked.costs)
    table.add_section()
    table.add_row("an hour", "", "", "", _usd(idle), _usd(busy))
    table.add_row("a month", "", "", "", _usd(idle * HOURS_PER_MONTH), _usd(busy * HOURS_PER_MONTH))
    return table


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.2f}"
