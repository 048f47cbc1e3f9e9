"""Clients, routers and engines in one simulated time. Requests in, what became of each out.

    results = simulate(requests, tiers, policy)

The policy is the server's own `Chooser` or something with its methods; engines are `Replica`s.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from math import inf

from serve_app.errors import Saturated, TandemError
from serve_app.routing.candidate import Candidate
from serve_app.routing.live.facts import Outcome
from serve_app.routing.types import RoutingRequest
from serve_app.simulator.engine import Finished, Replica
from serve_app.simulator.fleet.members import Fleet, Member, load_of
from serve_app.simulator.requests import Arrival, Result
from serve_app.simulator.router import Policy, Router

__all__ = ["Arrival", "Policy", "Result", "Router", "World", "simulate"]


@dataclass(slots=True)
class _Sent:
    result: Result
    asked: RoutingRequest
    candidate: Candidate
    router: Router
    member: Member
    sent_at_s: float


class World:
    """The clock: what happens next, what is under way.

    Replicas are looked at when their next reply may be finished, never else: a heap of these
    times is all that a million requests cost beside engines and policy.

    Args:
        routers: requests go to one after the other.
        orders_by_deadline: engines serve the earliest deadline first, else the first to come.
        report_delay_s: how old a replica's report is when a router gets it.
    """

    def __init__(
        self,
        fleet: Fleet,
        routers: Sequence[Router],
        *,
        orders_by_deadline: bool = False,
        report_delay_s: float = 0.0,
        keeps_decisions: bool = False,
    ) -> None:
        self.fleet = fleet
        self._routers = routers
        self._orders_by_deadline = orders_by_deadline
        self._report_delay_s = report_delay_s
        self._keeps_decisions = keeps_decisions
        self._numbers = count()
        self._finishes: list[tuple[float, int, Member]] = []
        self._timers: list[tuple[float, int, Callable[[float], None]]] = []
        self._sent: dict[int, _Sent] = {}
        self._ended: list[Result] = []
        self._num_open = 0
        self._is_arriving = True

    @property
    def is_open(self) -> bool:
        """Whether anybody is still to come or to be answered."""
        return self._is_arriving or self._num_open > 0

    def at(self, at_s: float, action: Callable[[float], None]) -> None:
        """Has something happen at a time; it is called with that time."""
        heappush(self._timers, (at_s, next(self._numbers), action))

    def run(self, results: Iterable[Result]) -> Iterator[Result]:
        """Plays results in the order of their arrivals; yields each when it has ended."""
        ended = self._ended
        for number, result in enumerate(results):
            now = result.arrival.request.arrived_at_s
            self._until(now)
            self._num_open += 1
            self._ask(result, self._routers[number % len(self._routers)], now)
            if ended:
                yield from ended
                ended.clear()
        self._is_arriving = False
        while self._num_open:
            self._until(self._next_s)
            yield from ended
            ended.clear()

    def scale(self, tier: str) -> None:
        """Tells the routers how many replicas serve a tier."""
        for router in self._routers:
            if router.informed is not None:
                router.informed.scaled(tier, len(self.fleet.serving[tier]))

    def fail(self, member: Member, now: float) -> None:
        """A replica dies, and with it all that it was working on."""
        if not member.is_leaving:
            self.fleet.remove(member)
        member.ended_at_s, member.due_at_s = now, None
        for number, sent in list(self._sent.items()):
            if sent.member is member:
                del self._sent[number]
                sent.router.policy.finish(str(number), sent.asked, sent.candidate, None, now=now)
                self._end(sent.result)
        self.scale(member.tier)

    @property
    def _next_s(self) -> float:
        finish_s = self._finishes[0][0] if self._finishes else inf
        return min(finish_s, self._timers[0][0]) if self._timers else finish_s

    def _until(self, now: float) -> None:
        """Lets everything happen up to a time, in order; what finishes comes first."""
        finishes, timers = self._finishes, self._timers
        while True:
            finish_s = finishes[0][0] if finishes else inf
            if timers and timers[0][0] < finish_s:
                if timers[0][0] > now:
                    return
                at_s, _, action = heappop(timers)
                action(at_s)
            elif finishes and finish_s <= now:
                at_s, _, member = heappop(finishes)
                if at_s == member.due_at_s:
                    for finished in member.replica.advance(at_s):
                        self._finish(finished)
                    self._watch(member)
            else:
                return

    def _watch(self, member: Member) -> None:
        at_s = member.replica.next_finish_s
        if at_s != member.due_at_s:
            member.due_at_s = at_s
            if at_s is not None:
                heappush(self._finishes, (at_s, next(self._numbers), member))

    def _ask(self, result: Result, router: Router, now: float) -> None:
        result.last_asked_at_s = now
        asked, policy = result.arrival.asked, router.policy
        if result.refusals:
            asked = replace(asked, is_returning=policy.returned(now=now))
        decision = policy.decide(asked, now=now)
        if self._keeps_decisions:
            result.decision = decision
        policy.note(decision)
        try:
            candidate = policy.admit(asked, decision, now=now)
        except Saturated as refusal:
            policy.refused(asked, refusal, now=now)
            result.refusals += 1
            if result.refusals > result.arrival.patience:
                self._end(result)
                return
            self.at(now + refusal.retry_after_s, lambda at_s: self._ask(result, router, at_s))
            return
        except TandemError:
            self._end(result)
            return
        self._send(result, asked, candidate, router, now)

    def _send(
        self,
        result: Result,
        asked: RoutingRequest,
        candidate: Candidate,
        router: Router,
        now: float,
    ) -> None:
        member = self.fleet.place(candidate.tier)
        if member is None:
            self._end(result)
            return
        number, request = next(self._numbers), result.arrival.request
        result.tier, result.sent_at_s = candidate.tier, now
        router.policy.start(str(number), asked, candidate, now=now)
        self._sent[number] = _Sent(result, asked, candidate, router, member, now)
        limit_ms = asked.slo.e2e_ms if self._orders_by_deadline else None
        member.replica.submit(
            number,
            prompt_tokens=request.prompt_tokens,
            output_tokens=min(request.output_tokens, candidate.length.most),
            now=now,
            priority=0.0 if limit_ms is None else now + limit_ms / 1000,
        )
        self._watch(member)

    def _finish(self, finished: Finished) -> None:
        number, now = int(finished.request_id), finished.finished_at_s
        sent = self._sent.pop(number)
        sent.result.finished_at_s = now
        outcome = Outcome(
            elapsed_s=now - sent.sent_at_s,
            output_tokens=finished.output_tokens,
            is_cut=finished.output_tokens >= sent.candidate.length.most,
        )
        if self.fleet.on_reply is not None:
            self.fleet.on_reply(sent.member.tier, now, finished.first_token_at_s - sent.sent_at_s)
        self._report(sent, now)
        sent.router.policy.finish(str(number), sent.asked, sent.candidate, outcome, now=now)
        self._end(sent.result)

    def _report(self, sent: _Sent, now: float) -> None:
        """The replica's load rides on the reply; a lone router knows it by its own count."""
        informed, member = sent.router.informed, sent.member
        if informed is None or len(self._routers) == 1:
            return
        load, number = load_of(member), member.number
        if not self._report_delay_s:
            informed.reported(member.tier, number, load, now=now)
            return
        self.at(
            now + self._report_delay_s,
            lambda at_s: informed.reported(member.tier, number, load, now=at_s),
        )

    def _end(self, result: Result) -> None:
        self._num_open -= 1
        self._ended.append(result)


def simulate(
    arrivals: Sequence[Arrival], tiers: Mapping[str, Sequence[Replica]], policy: Policy
) -> list[Result]:
    """Runs all arrivals to their end; results in the order of `arrivals`."""
    results = [Result(arrival) for arrival in arrivals]
    world = World(Fleet.fixed(tiers), [Router(policy)], keeps_decisions=True)
    for _ in world.run(results):
        pass
    return results
