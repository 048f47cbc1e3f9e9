"""What is known of one request, filled in as it travels; every report is made from this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.messages import Usage
from serve_app.asks import Ask
from serve_app.routing.candidate import Candidate
from serve_app.routing.decision import Decision
from serve_app.routing.lengths.scores import pinball
from serve_app.routing.live.facts import Outcome


@dataclass(frozen=True, slots=True)
class Verdict:
    """A forecast beside what came; seconds from dispatch.

    bound95_s: what 95 % of such replies should not exceed. speed_ratio: actual over
    predicted at the length that came. load_bin: the load it was forecast at.
    """

    bound95_s: float
    actual_s: float
    speed_ratio: float
    load_bin: str

    @property
    def is_covered(self) -> bool:
        return self.actual_s <= self.bound95_s

    @property
    def pinball95_s(self) -> float:
        """The bound's pinball loss."""
        return pinball(self.actual_s, self.bound95_s, 0.95)


@dataclass(slots=True)
class RequestRecord:
    """Times on the dispatcher's monotonic clock, in seconds; None until they happened.

    trace_headers: what the engine is given so that its spans join the trace. outcome_of_tier: how
    the call to the tier ended, None when it said nothing. num_events: of a stream, passed on so
    far; each is a token or more.
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
    num_events: int = 0
    outcome_of_tier: Outcome | None = None
    is_insured: bool = False
    attempts: int = 1
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

    def verdict(self) -> Verdict | None:
        """None when the reply was not finished or nothing had been forecast."""
        outcome, candidate = self.outcome_of_tier, self.candidate
        if candidate is None or outcome is None or not outcome.is_finished:
            return None
        forecast, tokens = candidate.forecast, outcome.output_tokens
        if tokens is None or outcome.elapsed_s <= 0.0:
            return None
        return Verdict(
            bound95_s=forecast.quantile_s(0.95),
            actual_s=outcome.elapsed_s,
            speed_ratio=outcome.elapsed_s / max(1e-6, forecast.time.e2e_s(tokens)),
            load_bin=forecast.load_group,
        )

    def outcome(self) -> dict[str, Any]:
        """The access log's line and the decision's outcome: plain values, no prompt text."""
        predicted = self.candidate.e2e_s if self.candidate else None
        finished = self.finished_at_s or self.ask.arrived_at_s
        return {
            "decision_id": self.ask.request_id,
            "endpoint": self.ask.endpoint,
            "status": self.status,
            "error_code": self.error_code,
            "tier": self.tier,
            "reason": self.reason,
            "attempts": self.attempts,
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
