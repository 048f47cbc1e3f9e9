"""One try of a request, decided and not yet sent."""

from dataclasses import dataclass

from serve_app.resilience.journey import Journey
from serve_app.routing.candidate import Candidate
from serve_app.routing.types import RoutingRequest
from serve_app.telemetry.records import RequestRecord


@dataclass(frozen=True, slots=True)
class Attempt:
    """Where the request goes this time.

    request: as routing saw it then. record, journey: the same in all tries of a request.
    label: tells two tries apart that run at once.
    """

    candidate: Candidate
    request: RoutingRequest
    record: RequestRecord
    journey: Journey
    label: str = ""

    @property
    def tier(self) -> str:
        return self.candidate.tier

    @property
    def call_id(self) -> str:
        """Tells the calls of one request apart; the caller's own id in front."""
        return self.record.ask.request_id + self.label + self.journey.suffix
