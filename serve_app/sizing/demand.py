"""What users ask for: how often, how long, how soon. Data only; knows no engine and no price."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from serve_app.routing.types import Slo
from serve_app.simulator.trace import Request

HOURS_PER_MONTH = 730


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests of one class of callers.

    lengths: a sample of prompts and replies, whose arrivals mean nothing. peak_factor: the busiest
    hour over the day's mean; replicas are there for the peak, tokens are made at the mean.
    """

    users: float
    requests_per_user_hour: float
    peak_factor: float
    lengths: Sequence[Request]
    slo: Slo

    @property
    def mean_rps(self) -> float:
        """Requests per second over the day."""
        return self.users * self.requests_per_user_hour / 3600.0

    @property
    def peak_rps(self) -> float:
        return self.mean_rps * self.peak_factor

    @property
    def prompt_tokens(self) -> float:
        """Of a request, in the mean."""
        return fmean(request.prompt_tokens for request in self.lengths)

    @property
    def output_tokens(self) -> float:
        """Of a reply, in the mean."""
        return fmean(request.output_tokens for request in self.lengths)

    @property
    def limit_s(self) -> float:
        """Deadline of the whole reply."""
        assert self.slo.e2e_ms is not None
        return self.slo.e2e_ms / 1000.0
