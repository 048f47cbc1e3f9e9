"""What instances cost, with the date and source of each figure. Nodes in, USD per hour out.

List prices for Linux, on demand, in one region, without disks, traffic and taxes: enough to see
the order of a bill before it comes. Prices change: look the ones you use up again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.check.cluster.fit import Fit
from serve_app.check.cluster.nodes import NodeType

HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True)
class Price:
    """USD per hour on demand. as_of: year, and month where known, of the figure."""

    usd_per_hour: float
    as_of: str
    source: str


_EC2 = "EC2 on-demand list price, us-west-2, Linux; SkyPilot catalog v8, aws/vms.csv"
_GCE = "Compute Engine list price, us-central1; cloud.google.com/compute/all-pricing"

PRICES = {
    "m7i.xlarge": Price(0.2016, "2026", _EC2),
    "m7i.2xlarge": Price(0.4032, "2026", _EC2),
    "g5.xlarge": Price(1.006, "2026", _EC2),
    "g6e.xlarge": Price(1.861, "2026", _EC2),
    "g6e.12xlarge": Price(10.493, "2026", _EC2),
    "p4d.24xlarge": Price(21.96, "2026", _EC2),
    "p4de.24xlarge": Price(27.45, "2026", _EC2),
    "p5.48xlarge": Price(55.04, "2026", _EC2),
    "e2-standard-4": Price(0.134, "2025-06", _GCE),
    "g2-standard-8": Price(0.854, "2025-06", _GCE),
    "a2-ultragpu-1g": Price(5.07, "2025-06", _GCE),
    "a2-ultragpu-2g": Price(10.14, "2025-06", _GCE),
}


@dataclass(frozen=True, slots=True)
class NodeCost:
    """One kind of node and how many run: deployed and idle, and under the highest load."""

    node: NodeType
    price: Price | None
    num_idle: int
    num_busy: int

    def usd_per_hour(self, num_nodes: int) -> float | None:
        """Of so many nodes, on demand; None when the price is not known."""
        return None if self.price is None else self.price.usd_per_hour * num_nodes


def costs(nodes: Sequence[NodeType], fit: Fit) -> list[NodeCost]:
    """Of the nodes that name an instance; your own machines and pods cost what they cost."""
    return [
        NodeCost(
            node, PRICES.get(node.instance), fit.nodes_at_least[node.name],
            fit.nodes_at_most[node.name],
        )
        for node in nodes if node.instance
    ]  # fmt: skip
