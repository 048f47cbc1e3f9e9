"""What one decision costs the router: time with and without tokenization, and memory for good.

Four tiers that have learned from thousands of replies, with requests in flight on each. Between
two timed decisions replies end and teach, so that what decisions keep between them goes stale as
it does in a server.
"""

import gc
import heapq
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import psutil

from serve_app.bench.overhead.measures import quantile
from serve_app.errors import TandemError
from serve_app.routing.candidate import Candidate
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.facts import EngineFacts, Outcome, TierSettings
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest, Slo

NUM_TIERS, PROMPT_TOKENS = 4, 512
_CONTEXT_TOKENS = 32_768
_ARRIVALS_PER_S = 12.0
_SLO_MS = (1_000.0, 20_000.0)
_PROMPTS = (16, 16_384)
_NUM_ROUTES, _NUM_RARE_ROUTES, _RARE_SHARE = 8, 5_000, 0.02
_NUM_FORECASTS = 2_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of decisions made in a row: admitted, refused, and of learning from a reply."""

    admitted_s: Sequence[float]
    refused_s: Sequence[float]
    finished_s: Sequence[float]


class Traffic:
    """Requests that come, are decided on and end, with four tiers behind one router."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.states = {
            state.view(0.0).tier: state for state in map(a_tier, range(1, 1 + NUM_TIERS))
        }
        self._chooser = Chooser(
            self.states, objective="best_quality_within_slo", max_outstanding_s=60.0
        )
        self._now = 0.0
        self._in_flight: list[tuple[float, int, RoutingRequest, Candidate, Outcome]] = []
        self._number = 0

    @property
    def num_in_flight(self) -> int:
        return len(self._in_flight)

    def round(self, count: int, prepare: Callable[[], object] = lambda: None) -> Round:
        """Times so many decisions, each with what `prepare` does before it.

        As many requests of other lengths come between them and are not timed.
        """
        admitted_s: list[float] = []
        refused_s: list[float] = []
        finished_s: list[float] = []
        for number in range(2 * count):
            self._now += self._random.expovariate(_ARRIVALS_PER_S)
            finished_s += self._end_until_now()
            if number % 2:
                self._pass(self._a_request(a_length(self._random)))
                continue
            request = self._a_request(PROMPT_TOKENS)
            began_s = time.perf_counter()
            prepare()
            decision = self._chooser.decide(request, now=self._now)
            try:
                candidate = self._chooser.admit(request, decision, now=self._now)
            except TandemError:
                refused_s.append(time.perf_counter() - began_s)
                continue
            admitted_s.append(time.perf_counter() - began_s)
            self._send(request, candidate)
        return Round(admitted_s, refused_s, finished_s)

    def _pass(self, request: RoutingRequest) -> None:
        decision = self._chooser.decide(request, now=self._now)
        with suppress(TandemError):
            self._send(request, self._chooser.admit(request, decision, now=self._now))

    def _a_request(self, prompt_tokens: int) -> RoutingRequest:
        """Half name a max_tokens; deadlines lie between hopeless and easy; one in ten insists."""
        draw = self._random
        is_strict = draw.random() < 0.1
        slo = Slo(draw.uniform(*_SLO_MS), on_infeasible=("reject",) if is_strict else ("degrade",))
        most = 512 if draw.random() < 0.5 else None
        counts = dict.fromkeys(self.states, prompt_tokens)
        route = f"route-{draw.randrange(_NUM_ROUTES)}"
        return RoutingRequest(counts, slo, max_tokens=most, route=route, draw=draw.random())

    def _send(self, request: RoutingRequest, candidate: Candidate) -> None:
        self._number += 1
        self._chooser.start(str(self._number), request, candidate, now=self._now)
        outcome = an_outcome(candidate, self._random)
        ends_at_s = self._now + outcome.elapsed_s
        heapq.heappush(self._in_flight, (ends_at_s, self._number, request, candidate, outcome))

    def _end_until_now(self) -> list[float]:
        finished_s: list[float] = []
        while self._in_flight and self._in_flight[0][0] <= self._now:
            ended_s, number, request, candidate, outcome = heapq.heappop(self._in_flight)
            began_s = time.perf_counter()
            self._chooser.finish(str(number), request, candidate, outcome, now=ended_s)
            finished_s.append(time.perf_counter() - began_s)
        return finished_s


def a_tier(rank: int) -> TierState:
    """A measured tier; each next one is better, slower and dearer."""
    profile = LatencyProfile(0.01 * rank, 5e-5 * rank, 0.008 * rank, 2e-4 * rank, is_measured=True)
    settings = TierSettings(f"tier-{rank}", {"default": float(rank)}, float(rank), 0, None, profile)
    state = TierState(settings, default_output_tokens=256)
    state.num_replicas = 1
    state.engine_started(EngineFacts(profile, _CONTEXT_TOKENS, 64, "bench"))
    return state


def a_length(draw: random.Random) -> int:
    """Prompt tokens, any doubling as likely as another."""
    return int(_PROMPTS[0] * (_PROMPTS[1] / _PROMPTS[0]) ** draw.random())


def an_outcome(candidate: Candidate, draw: random.Random) -> Outcome:
    """A reply of log-normal length, 120 tokens in the median, some 10 % off its predicted time."""
    most = candidate.length.most
    tokens = min(most, 1 + int(draw.lognormvariate(4.8, 0.8)))
    e2e_s = candidate.time.e2e_s(tokens) * draw.lognormvariate(0.0, 0.1)
    return Outcome(e2e_s, tokens, is_cut=tokens == most)


def median_quantile_s(rounds: Sequence[Sequence[float]], share: float) -> float:
    """The quantile of each round, and of those the median: one disturbed round does not count.

    >>> median_quantile_s([[1.0], [9.0], [2.0]], 0.5)
    2.0
    """
    return statistics.median(quantile(times_s, share) for times_s in rounds)


def memory_growth(num_observations: int, say: Say, *, steps: int = 10) -> list[int]:
    """Bytes by which the process has grown after each tenth of so many replies of one tier.

    They come from more routes, prompt lengths and loads than are kept apart, as callers might
    choose them.
    """
    draw = random.Random(2)
    state, pool = a_tier(1), _forecasts(draw)
    own = psutil.Process()
    gc.collect()
    before = own.memory_info().rss
    grown: list[int] = []
    for step in range(1, steps + 1):
        for _ in range(num_observations // steps):
            request, candidate = draw.choice(pool)
            num_routes = _NUM_RARE_ROUTES if draw.random() < _RARE_SHARE else _NUM_ROUTES
            routed = replace(request, route=f"route-{draw.randrange(num_routes)}")
            query = routed.length_query(candidate.prompt_tokens, _CONTEXT_TOKENS)
            state.observe(candidate, query, an_outcome(candidate, draw), None, now=0.0)
        gc.collect()
        grown.append(own.memory_info().rss - before)
        say(f"{step * num_observations // steps:,} replies learned")
    return grown


def _forecasts(draw: random.Random) -> list[tuple[RoutingRequest, Candidate]]:
    """Requests and what another, busier and busier tier forecast for them."""
    state = a_tier(1)
    chooser = Chooser({"tier-1": state}, objective="best_quality_within_slo", max_outstanding_s=1e9)
    pool: list[tuple[RoutingRequest, Candidate]] = []
    for number in range(_NUM_FORECASTS):
        request = RoutingRequest({"tier-1": a_length(draw)}, Slo())
        candidate = chooser.admit(request, chooser.decide(request, now=0.0), now=0.0)
        pool.append((request, candidate))
        if draw.random() < 0.05:
            chooser.start(str(number), request, candidate, now=0.0)
    return pool
