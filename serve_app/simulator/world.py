"""Clients, routers and engines in one simulated time. Requests in, what became of each out.

    results = simulate(requests, tiers, policy)

The policy is the server's own `Chooser` or something with its methods; engines are `Replica`s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Protocol

from serve_app.errors import Saturated, TandemError
from serve_app.routing.live.state import Outcome
from serve_app.routing.types import Candidate, Decision, RoutingRequest
from serve_app.simulator.engine import Finished, Replica
from serve_app.simulator.trace import Request


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request and what its caller wants; `asked` is what routing is told of it.

    patience: how often the caller comes back when told to.
    """

    request: Request
    asked: RoutingRequest
    patience: int = 0


@dataclass(slots=True)
class Result:
    """What became of one request; seconds. refusals: how often it was told to come back."""

    arrival: Arrival
    tier: str | None = None
    sent_at_s: float | None = None
    finished_at_s: float | None = None
    refusals: int = 0
    last_asked_at_s: float = 0.0
    decision: Decision | None = None

    @property
    def is_served(self) -> bool:
        return self.finished_at_s is not None

    @property
    def e2e_s(self) -> float | None:
        """From the last time it was asked, which is what its SLO counts."""
        return None if self.finished_at_s is None else self.finished_at_s - self.last_asked_at_s

    @property
    def is_slo_met(self) -> bool:
        limit_ms = self.arrival.asked.slo.e2e_ms
        e2e_s = self.e2e_s
        return e2e_s is not None and (limit_ms is None or e2e_s * 1000 <= limit_ms)


class Policy(Protocol):
    """What decides; see `routing.live.chooser.Chooser`."""

    def decide(self, request: RoutingRequest, *, now: float) -> Decision: ...

    def admit(self, request: RoutingRequest, decision: Decision, *, now: float) -> Candidate: ...

    def note(self, decision: Decision) -> None: ...

    def refused(self, request: RoutingRequest, refusal: Saturated, *, now: float) -> None: ...

    def returned(self, *, now: float) -> bool: ...

    def start(
        self, request_id: str, request: RoutingRequest, candidate: Candidate, *, now: float
    ) -> None: ...

    def finish(
        self,
        request_id: str,
        request: RoutingRequest,
        candidate: Candidate,
        outcome: Outcome | None,
        *,
        now: float,
    ) -> None: ...


@dataclass(slots=True)
class _Sent:
    asked: RoutingRequest
    candidate: Candidate
    sent_at_s: float


@dataclass(slots=True)
class _World:
    """The clock's own state: what happens next, what is under way."""

    tiers: Mapping[str, Sequence[Replica]]
    policy: Policy
    results: list[Result]
    asking: list[tuple[float, int]] = field(default_factory=list)
    sent: dict[int, _Sent] = field(default_factory=dict)

    def run(self) -> None:
        for index, result in enumerate(self.results):
            heappush(self.asking, (result.arrival.request.arrived_at_s, index))
        while self.asking:
            now, index = heappop(self.asking)
            self._advance(now)
            self._ask(index, now)
        self._advance(float("inf"))

    def _advance(self, until_s: float) -> None:
        """Lets every engine run up to a time and teaches the policy what ended, in order."""
        ended = [
            finished
            for replicas in self.tiers.values()
            for replica in replicas
            for finished in replica.advance(until_s)
        ]
        ended.sort(key=lambda finished: finished.finished_at_s)
        for finished in ended:
            self._finish(finished)

    def _ask(self, index: int, now: float) -> None:
        result = self.results[index]
        result.last_asked_at_s = now
        asked = result.arrival.asked
        if result.refusals:
            asked = replace(asked, is_returning=self.policy.returned(now=now))
        decision = self.policy.decide(asked, now=now)
        result.decision = decision
        self.policy.note(decision)
        try:
            candidate = self.policy.admit(asked, decision, now=now)
        except Saturated as refusal:
            self.policy.refused(asked, refusal, now=now)
            result.refusals += 1
            if result.refusals <= result.arrival.patience:
                heappush(self.asking, (now + refusal.retry_after_s, index))
            return
        except TandemError:
            return
        self._send(index, asked, candidate, now)

    def _send(self, index: int, asked: RoutingRequest, candidate: Candidate, now: float) -> None:
        result, request = self.results[index], self.results[index].arrival.request
        result.tier, result.sent_at_s = candidate.tier, now
        self.policy.start(str(index), asked, candidate, now=now)
        self.sent[index] = _Sent(asked, candidate, now)
        replica = min(self.tiers[candidate.tier], key=lambda r: r.running + r.waiting)
        replica.submit(
            index,
            prompt_tokens=request.prompt_tokens,
            output_tokens=min(request.output_tokens, candidate.forecast.length.most),
            now=now,
        )

    def _finish(self, finished: Finished) -> None:
        index = int(finished.request_id)
        sent, result = self.sent.pop(index), self.results[index]
        result.finished_at_s = finished.finished_at_s
        outcome = Outcome(
            elapsed_s=finished.finished_at_s - sent.sent_at_s,
            output_tokens=finished.output_tokens,
            is_cut=finished.output_tokens >= sent.candidate.forecast.length.most,
        )
        self.policy.finish(
            str(index), sent.asked, sent.candidate, outcome, now=finished.finished_at_s
        )


def simulate(
    arrivals: Sequence[Arrival], tiers: Mapping[str, Sequence[Replica]], policy: Policy
) -> list[Result]:
    """Runs all arrivals to their end; results in the order of `arrivals`."""
    world = _World(tiers, policy, [Result(arrival) for arrival in arrivals])
    world.run()
    return world.results
