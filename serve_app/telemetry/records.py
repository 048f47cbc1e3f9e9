"""What is known of one request, filled in as it travels; every report is made from this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.messages import Usage
from serve_app.asks import Ask
from serve_app.routing.types import Candidate, Decision


@dataclass(slots=True)
class RequestRecord:
    """Times on the dispatcher's monotonic clock, in seconds; None until they happened.

    trace_headers: what the engine is given so that its spans join the trace.
    """

    ask: Ask
    trace_headers: Mapping[str, str] = field(default_factory=dict)
    decision: Decision | None = None
    candidate: Candidate | None = None
    decided_at_s: float | None = None
    dispatched_at_s: float | None = None
    first_token_at_s: float | None = None
    finished_at_s: float | None = None
    usage: Usage | None = None
    status: int = 200
    error_code: str | None = None

    @property
    def tier(self) -> str | None:
        return self.candidate.tier if self.candidate else None

    @property
    def reason(self) -> str | None:
        return self.decision.reason if self.decision else None

    @property
    def overhead_s(self) -> float | None:
        """From arrival to the handle: parsing, counting, choosing."""
        return self._since_arrival(self.dispatched_at_s)

    @property
    def ttft_s(self) -> float | None:
        return self._since_arrival(self.first_token_at_s)

    @property
    def e2e_s(self) -> float | None:
        return self._since_arrival(self.finished_at_s)

    @property
    def tpot_s(self) -> float | None:
        """Seconds per output token after the first; None for unstreamed or one-token replies."""
        if self.finished_at_s is None or self.first_token_at_s is None or self.usage is None:
            return None
        later_tokens = self.usage["completion_tokens"] - 1
        if later_tokens < 1:
            return None
        return (self.finished_at_s - self.first_token_at_s) / later_tokens

    def is_slo_met(self, now: float) -> bool | None:
        """None when nothing was asked that has been measured by `now`."""
        slo = self.ask.slo
        measured = [
            (slo.e2e_ms, now - self.ask.arrived_at_s),
            (slo.ttft_ms, self.ttft_s),
            (slo.tpot_ms, self.tpot_s),
        ]
        known = [(limit, value) for limit, value in measured if limit and value is not None]
        if not known:
            return None
        return all(value * 1000 <= limit for limit, value in known)

    def outcome(self) -> dict[str, Any]:
        """The access log's line and the decision's outcome: plain values, no prompt text."""
        predicted = self.candidate.time.e2e_s if self.candidate else None
        finished = self.finished_at_s or self.ask.arrived_at_s
        return {
            "decision_id": self.ask.request_id,
            "endpoint": self.ask.endpoint,
            "status": self.status,
            "error_code": self.error_code,
            "tier": self.tier,
            "reason": self.reason,
            "slo_class": self.ask.slo_class,
            "slo_e2e_ms": self.ask.slo.e2e_ms,
            "slo_met": self.is_slo_met(finished) if self.status == 200 else None,
            "prompt_tokens": self.usage["prompt_tokens"] if self.usage else None,
            "output_tokens": self.usage["completion_tokens"] if self.usage else None,
            "predicted_e2e_ms": _ms(predicted),
            "e2e_ms": _ms(self.e2e_s),
            "ttft_ms": _ms(self.ttft_s),
            "overhead_ms": _ms(self.overhead_s),
            "is_streamed": self.ask.is_streamed,
        }

    def _since_arrival(self, at_s: float | None) -> float | None:
        return None if at_s is None else at_s - self.ask.arrived_at_s


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
