"""The page docs/metrics.md, made from the metrics themselves:
`python -m serve_app.telemetry.metric_list > docs/metrics.md`.
"""

import sys
from collections.abc import Sequence
from typing import Any

from serve_app.telemetry.metrics import Metrics

_HEAD = """# Metrics

Made by `python -m serve_app.telemetry.metric_list > docs/metrics.md`; a test compares. Ray exports
them on each node's Prometheus endpoint with the prefix `ray_` and labels of its own.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


class _Listing:
    """A metric factory that only writes down what is made."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def counter(self, name: str, description: str, tag_keys: Sequence[str]) -> Any:
        self._row(name, "counter", tag_keys, description)

    def gauge(self, name: str, description: str, tag_keys: Sequence[str]) -> Any:
        self._row(name, "gauge", tag_keys, description)

    def histogram(
        self, name: str, description: str, boundaries: Sequence[float], tag_keys: Sequence[str]
    ) -> Any:
        self._row(name, "histogram", tag_keys, description)

    def _row(self, name: str, kind: str, labels: Sequence[str], description: str) -> None:
        named = ", ".join(f"`{label}`" for label in labels)
        self.rows.append(f"| `ray_{name}` | {kind} | {named} | {description} |")


def metric_list() -> str:
    """The page."""
    listing = _Listing()
    Metrics(listing)
    return _HEAD + "\n".join(listing.rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(metric_list())
