"""What is in flight on one tier, as far as this router knows. `now` is an argument everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from serve_app.routing.latency import ReplyTime, TierLoad

_REPORT_LIFETIME_S = 5.0


@dataclass(frozen=True, slots=True)
class InFlight:
    """One request on its way; times on the router's monotonic clock, in seconds."""

    prompt_tokens: int
    sequences: int
    first_token_at_s: float
    finish_at_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """One replica's own account of its load, and how much of that was ours."""

    sequences: int
    queued_tokens: int
    own_sequences: int
    at_s: float


class Ledger:
    """Counts this router's requests exactly and the other routers' by the engines' reports.

    Reports ride on replies, so they cost nothing and age; an aged one says less about now and
    fades out linearly over five seconds.
    """

    def __init__(self) -> None:
        self._in_flight: dict[str, InFlight] = {}
        self._reports: dict[str, Report] = {}

    @property
    def num_in_flight(self) -> int:
        return len(self._in_flight)

    def start(
        self, request_id: str, time: ReplyTime, *, prompt_tokens: int, sequences: int, now: float
    ) -> None:
        self._in_flight[request_id] = InFlight(
            prompt_tokens, sequences, now + time.ttft_s, now + time.e2e_s
        )

    def finish(self, request_id: str) -> None:
        self._in_flight.pop(request_id, None)

    def report(self, load: Mapping[str, object], *, now: float) -> None:
        """Takes the `deployments.messages.Load` of a reply."""
        running, waiting = load.get("running", 0), load.get("waiting", 0)
        queued = load.get("queued_tokens", 0)
        if not (isinstance(running, int) and isinstance(waiting, int) and isinstance(queued, int)):
            return
        own = sum(entry.sequences for entry in self._in_flight.values())
        self._reports[str(load.get("replica", ""))] = Report(running + waiting, queued, own, now)

    def load(self, *, replicas: int, max_num_seqs: int, now: float) -> TierLoad:
        """The load that a new request would meet on an average replica."""
        replicas = max(1, replicas)
        own = sum(entry.sequences for entry in self._in_flight.values())
        sequences = own + self._others(now)
        queued = sum(e.prompt_tokens for e in self._in_flight.values() if e.first_token_at_s > now)
        return TierLoad(
            sequences=sequences / replicas,
            queued_tokens=queued / replicas,
            slot_wait_s=self._slot_wait_s(sequences, replicas * max_num_seqs, now),
        )

    def _others(self, now: float) -> float:
        """Sequences of other routers, summed over the replicas' reports."""
        self._reports = {
            replica: report
            for replica, report in self._reports.items()
            if now - report.at_s < _REPORT_LIFETIME_S
        }
        reports = self._reports.values()
        if not reports:
            return 0.0
        freshness = 1.0 - (now - max(r.at_s for r in reports)) / _REPORT_LIFETIME_S
        foreign = sum(r.sequences for r in reports) - max(r.own_sequences for r in reports)
        return max(0.0, foreign * freshness)

    def _slot_wait_s(self, sequences: float, slots: int, now: float) -> float:
        """Until enough of the requests ahead have finished, by their own predictions."""
        excess = int(sequences) - slots
        if excess < 0:
            return 0.0
        finishes = sorted(entry.finish_at_s for entry in self._in_flight.values())
        if not finishes:
            return 0.0
        return max(0.0, finishes[min(excess, len(finishes) - 1)] - now)
