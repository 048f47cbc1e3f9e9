"""Every metric Tandem exports: name, help, labels. The factory decides where they go."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from serve_app.telemetry.records import RequestRecord, Verdict

_SECONDS = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0]
_STEP_SECONDS = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5]
_RATIO = [0.5, 0.67, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5, 2.0]


class Counter(Protocol):
    def inc(self, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None: ...


class Gauge(Protocol):
    def set(self, value: float, tags: Mapping[str, str] | None = None) -> None: ...


class Histogram(Protocol):
    def observe(self, value: float, tags: Mapping[str, str] | None = None) -> None: ...


class MetricFactory(Protocol):
    """Makes metrics; `ray.serve.metrics` in a replica, a recording one in tests."""

    def counter(self, name: str, description: str, tag_keys: Sequence[str]) -> Counter: ...

    def gauge(self, name: str, description: str, tag_keys: Sequence[str]) -> Gauge: ...

    def histogram(
        self, name: str, description: str, boundaries: Sequence[float], tag_keys: Sequence[str]
    ) -> Histogram: ...


class Metrics:
    """The router's metrics; Ray exports each name with the prefix `ray_`."""

    def __init__(self, make: MetricFactory) -> None:
        self._requests = make.counter(
            "tandem_requests_total",
            "Requests by the tier that answered, why it was chosen, and the HTTP status.",
            ("tier", "reason", "status"),
        )
        self._retries = make.counter(
            "tandem_retries_total",
            "Tries after a request's first, streams that went on elsewhere among them, by the tier "
            "that had the last one.",
            ("tier", "status"),
        )
        self._e2e = make.histogram(
            "tandem_e2e_seconds", "Arrival to last byte of a good reply.", _SECONDS, ("tier",)
        )
        self._ttft = make.histogram(
            "tandem_ttft_seconds", "Arrival to first token of a streamed reply.", _SECONDS,
            ("tier",),
        )  # fmt: skip
        self._tpot = make.histogram(
            "tandem_tpot_seconds", "Each output token after the first, streamed.", _STEP_SECONDS,
            ("tier",),
        )  # fmt: skip
        self._ratio = make.histogram(
            "tandem_predicted_to_actual_ratio",
            "Predicted over actual whole-reply time, at the expected length.", _RATIO, ("tier",),
        )  # fmt: skip
        self._slo = make.counter(
            "tandem_slo_requests_total",
            "Good replies that had an SLO, by whether it was met.",
            ("tier", "slo_class", "met"),
        )
        self._bounds = make.counter(
            "tandem_bound95_total",
            "Replies by whether they came within the bound that 95 % should meet.",
            ("tier", "load", "covered"),
        )
        self._speed_ratio = make.histogram(
            "tandem_actual_to_predicted_speed_ratio",
            "Actual over predicted time of whole replies at the length that came: the bias.",
            _RATIO, ("tier", "load"),
        )  # fmt: skip
        self._pinball = make.counter(
            "tandem_pinball95_seconds_total",
            "Pinball loss of the 95 % bound, summed; divide by tandem_bound95_total.",
            ("tier",),
        )
        self._degraded = make.counter(
            "tandem_degraded_for_capacity_total",
            "Requests that an idle `wanted` tier would have served and its load kept out.",
            ("wanted", "tier"),
        )
        self._dropped = make.gauge(
            "tandem_decisions_dropped", "Lines that the decision log could not keep up with.", ()
        )
        self._in_flight = make.gauge(
            "tandem_in_flight", "Requests between arrival and last byte.", ()
        )

    def in_flight(self, count: int) -> None:
        self._in_flight.set(count)

    def decisions_dropped(self, count: int) -> None:
        self._dropped.set(count)

    def finished(self, record: RequestRecord, verdict: Verdict | None) -> None:
        """Counts one ended request."""
        tier = record.tier or "none"
        decision = record.decision
        if decision is not None and decision.wanted and decision.is_degraded_for_capacity:
            self._degraded.inc(tags={"wanted": decision.wanted.tier, "tier": tier})
        self._requests.inc(
            tags={"tier": tier, "reason": record.reason or "none", "status": str(record.status)}
        )
        if record.attempts > 1:
            tags = {"tier": tier, "status": str(record.status)}
            self._retries.inc(record.attempts - 1, tags=tags)
        if record.status != 200 or record.e2e_s is None or record.finished_at_s is None:
            return
        tags = {"tier": tier}
        self._e2e.observe(record.e2e_s, tags=tags)
        if record.ttft_s is not None:
            self._ttft.observe(record.ttft_s, tags=tags)
        if record.tpot_s is not None:
            self._tpot.observe(record.tpot_s, tags=tags)
        if record.candidate is not None and record.e2e_s > 0:
            self._ratio.observe(record.candidate.e2e_s / record.e2e_s, tags=tags)
        is_met = record.is_slo_met(record.finished_at_s)
        if is_met is not None:
            slo_class = record.ask.slo_class or "none"
            self._slo.inc(tags=tags | {"slo_class": slo_class, "met": str(is_met).lower()})
        if verdict is not None:
            self._judged(tags, verdict)

    def _judged(self, tags: dict[str, str], verdict: Verdict) -> None:
        at_load = tags | {"load": verdict.load_bin.removeprefix("load|")}
        self._bounds.inc(tags=at_load | {"covered": str(verdict.is_covered).lower()})
        self._speed_ratio.observe(verdict.speed_ratio, tags=at_load)
        self._pinball.inc(verdict.pinball95_s, tags=tags)
