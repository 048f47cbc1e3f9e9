"""A recorder whose metrics stay in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.trace import Tracer

from serve_app.telemetry.metrics import Metrics
from serve_app.telemetry.recorder import Recorder


class _Metric:
    def __init__(self, name: str, seen: list[tuple[str, float, dict[str, str]]]) -> None:
        self._name = name
        self._seen = seen

    def inc(self, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None:
        self._seen.append((self._name, value, dict(tags or {})))

    def set(self, value: float, tags: Mapping[str, str] | None = None) -> None:
        self._seen.append((self._name, value, dict(tags or {})))

    def observe(self, value: float, tags: Mapping[str, str] | None = None) -> None:
        self._seen.append((self._name, value, dict(tags or {})))


class MetricsInMemory:
    def __init__(self) -> None:
        self.seen: list[tuple[str, float, dict[str, str]]] = []

    def counter(self, name: str, description: str, tag_keys: Sequence[str]) -> Any:
        return _Metric(name, self.seen)

    def gauge(self, name: str, description: str, tag_keys: Sequence[str]) -> Any:
        return _Metric(name, self.seen)

    def histogram(
        self, name: str, description: str, boundaries: Sequence[float], tag_keys: Sequence[str]
    ) -> Any:
        # Ray refuses others, and only when a replica starts.
        assert all(boundary > 0 for boundary in boundaries)
        return _Metric(name, self.seen)

    def counted(self, name: str, **tags: str) -> int:
        """How often the metric was reported with at least these tags."""
        return sum(
            1 for seen, _, given in self.seen if seen == name and tags.items() <= given.items()
        )


def a_recorder(
    tracer: Tracer | None = None, decisions_kept: int = 100
) -> tuple[Recorder, MetricsInMemory]:
    metrics = MetricsInMemory()
    recorder = Recorder(Metrics(metrics), tracer, is_logging=False, decisions_kept=decisions_kept)
    return recorder, metrics
