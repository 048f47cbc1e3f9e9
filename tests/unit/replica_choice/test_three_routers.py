"""Three routers over simulated replicas: calls wait less than by counts, and never herd."""

import math
import random
import statistics
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import pytest

from deployments.messages import Load
from deployments.work import WorkInHand
from serve_app.replica_choice.chooser import Call, ReplicaChooser
from tests.unit.replica_choice.builders import a_load


@dataclass(eq=False)
class Job:
    """A call with the seconds that it truly takes alone; its router believes `call.work_s`."""

    call: Call
    router: int
    alone_s: float
    arrived_s: float
    started_s: float = 0.0
    ended_s: float = 0.0

    @property
    def wait_s(self) -> float:
        return self.started_s - self.arrived_s

    @property
    def delay_s(self) -> float:
        return self.ended_s - self.arrived_s - self.alone_s


class Replica:
    """First come, first served, `slots` together; a full batch steps at half the speed."""

    def __init__(self, name: str, slots: int) -> None:
        self.name = name
        self.in_hand = WorkInHand(slots)
        self._slots = slots
        self._left_s: dict[Job, float] = {}
        self._waiting: deque[Job] = deque()
        self._at_s = 0.0

    @property
    def num_ongoing(self) -> int:
        return len(self._left_s) + len(self._waiting)

    @property
    def work_s(self) -> float:
        return sum(self._left_s.values()) + sum(job.alone_s for job in self._waiting)

    @property
    def load(self) -> Load:
        running, waiting = len(self._left_s), len(self._waiting)
        return a_load(self.name, self.in_hand.left_s(self._at_s)) | {
            "running": running, "waiting": waiting,
        }  # fmt: skip

    def take(self, job: Job, now: float) -> None:
        self.advance(now)
        self.in_hand.add(job, job.call.work_s, now)
        self._waiting.append(job)
        self._fill()

    def end(self, job: Job) -> None:
        del self._left_s[job]
        self.in_hand.remove(job, self._at_s)
        self._fill()

    def next_end(self) -> tuple[float, Job] | None:
        job = min(self._left_s, key=lambda each: self._left_s[each], default=None)
        return (self._at_s + self._left_s[job] / self._speed, job) if job is not None else None

    def advance(self, now: float) -> None:
        speed = self._speed
        for job in self._left_s:
            self._left_s[job] -= (now - self._at_s) * speed
        self._at_s = now

    @property
    def _speed(self) -> float:
        return 1.0 / (1.0 + max(0, len(self._left_s) - 1) / self._slots)

    def _fill(self) -> None:
        while self._waiting and len(self._left_s) < self._slots:
            job = self._waiting.popleft()
            job.started_s = self._at_s
            self._left_s[job] = job.alone_s


class Picker(Protocol):
    """One router's way of choosing."""

    def pick(self, replicas: dict[str, Replica], call: Call, now: float) -> str: ...

    def counted(self, replica: str, num_ongoing: int, now: float) -> None: ...

    def done(self, replica: str, call: Call, now: float) -> None: ...

    def heard(self, load: Load, now: float) -> None: ...


class ByCounts:
    """Serve's default: two random replicas, the shorter queue by the router's own cache.

    The cache holds what the replica said when it accepted a call, less the router's own ends.
    """

    def __init__(self, chance: random.Random, slots: int) -> None:
        self._chance = chance
        self._counts: Counter[str] = Counter()

    def pick(self, replicas: dict[str, Replica], call: Call, now: float) -> str:
        return min(self._chance.sample(list(replicas), 2), key=self._counts.__getitem__)

    def counted(self, replica: str, num_ongoing: int, now: float) -> None:
        self._counts[replica] = num_ongoing

    def done(self, replica: str, call: Call, now: float) -> None:
        self._counts[replica] = max(0, self._counts[replica] - 1)

    def heard(self, load: Load, now: float) -> None:
        """Serve's default takes no reports."""


class ByWork:
    """Ours, told what the Ray adapter tells it."""

    def __init__(self, chance: random.Random, slots: int) -> None:
        self._chooser = ReplicaChooser(slots, chance)
        self._chance = chance

    def pick(self, replicas: dict[str, Replica], call: Call, now: float) -> str:
        ranked = self._chooser.choose(list(replicas), call, now)
        chosen = ranked[0] if ranked else self._chance.choice(list(replicas))
        self._chooser.sent(chosen, call, now)
        return chosen

    def counted(self, replica: str, num_ongoing: int, now: float) -> None:
        self._chooser.counted(replica, num_ongoing, now)

    def done(self, replica: str, call: Call, now: float) -> None:
        self._chooser.finished(call.request_id, replica, now)

    def heard(self, load: Load, now: float) -> None:
        self._chooser.report(load, now)


@dataclass(frozen=True)
class Outcome:
    """Calls after the warm-up; imbalance: largest through mean work, averaged over time."""

    jobs: list[Job]
    imbalance: float

    def wait_s(self, percent: int) -> float:
        return statistics.quantiles((job.wait_s for job in self.jobs), n=100)[percent - 1]

    def delay_s(self, percent: int) -> float:
        return statistics.quantiles((job.delay_s for job in self.jobs), n=100)[percent - 1]


def traffic(seed: int, num_calls: int, capacity: float, error: float) -> list[Job]:
    """80 % of the capacity; one call in 20 is 20 times longer; predictions are off by `error`."""
    chance = random.Random(seed)
    mean_s = 0.95 * 1.0 + 0.05 * 20.0
    now, jobs = 0.0, []
    for number in range(num_calls):
        now += chance.expovariate(0.8 * capacity / mean_s)
        alone_s = (20.0 if chance.random() < 0.05 else 1.0) * chance.uniform(0.8, 1.2)
        call = Call(str(number), alone_s * chance.lognormvariate(0.0, error))
        jobs.append(Job(call, chance.randrange(3), alone_s, now))
    return jobs


def simulated(
    picker: type[ByCounts] | type[ByWork], *, seed: int, slots: int = 4, error: float = 0.3,
    report_delay_s: float = 0.2, num_calls: int = 1000,
) -> Outcome:  # fmt: skip
    """Three routers over six replicas; the traffic depends on `seed` alone, not on the picker."""
    replicas = {name: Replica(name, slots) for name in "abcdef"}
    pickers: list[Picker] = [picker(random.Random(10 * seed + each), slots) for each in range(3)]
    speed_of_full = 1.0 / (1.0 + (slots - 1) / slots)
    jobs = traffic(seed, num_calls, len(replicas) * slots * speed_of_full, error)
    arrivals, reports, ratios = deque(jobs), deque[tuple[float, int, Load]](), list[float]()
    places: dict[Job, str] = {}
    while arrivals or places:
        ends = [(*end, replica) for replica in replicas.values() if (end := replica.next_end())]
        end_s, job, replica = min(ends, key=lambda end: end[0], default=(math.inf, None, None))
        arrival_s = arrivals[0].arrived_s if arrivals else math.inf
        while reports and reports[0][0] <= min(end_s, arrival_s):
            heard_s, router, load = reports.popleft()
            pickers[router].heard(load, heard_s)
        if job is not None and replica is not None and end_s <= arrival_s:
            replica.advance(end_s)
            replica.end(job)
            job.ended_s = end_s
            pickers[job.router].done(places.pop(job), job.call, end_s)
            reports.append((end_s + report_delay_s, job.router, replica.load))
            continue
        job = arrivals.popleft()
        places[job] = pickers[job.router].pick(replicas, job.call, arrival_s)
        replicas[places[job]].take(job, arrival_s)
        num_ongoing = replicas[places[job]].num_ongoing
        pickers[job.router].counted(places[job], num_ongoing, arrival_s)
        work_s = [each.work_s for each in replicas.values()]
        ratios.append(max(work_s) * len(work_s) / sum(work_s))
    return Outcome(jobs[num_calls // 10 :], statistics.fmean(ratios[num_calls // 10 :]))


@cache
def four_runs(
    picker: type[ByCounts] | type[ByWork], slots: int, report_delay_s: float = 0.2
) -> list[Outcome]:
    return [
        simulated(picker, seed=seed, slots=slots, report_delay_s=report_delay_s)
        for seed in range(4)
    ]


def mean_of(outcomes: list[Outcome], figure: Callable[[Outcome], float]) -> float:
    return statistics.fmean(figure(outcome) for outcome in outcomes)


@pytest.mark.parametrize("slots", [1, 4])
def test_calls_wait_less_than_by_counts_when_some_are_twenty_times_longer(slots: int) -> None:
    # Given the same traffic of three routers, with late reports and wrong predictions
    counts, work = four_runs(ByCounts, slots), four_runs(ByWork, slots)
    # Then the 95th percentile of the wait is clearly shorter, and that of the whole delay
    assert mean_of(work, lambda o: o.wait_s(95)) < 0.9 * mean_of(counts, lambda o: o.wait_s(95))
    assert mean_of(work, lambda o: o.delay_s(95)) < 0.9 * mean_of(counts, lambda o: o.delay_s(95))


def test_with_many_slots_it_is_no_worse_than_counts() -> None:
    counts, work = four_runs(ByCounts, 32), four_runs(ByWork, 32)
    assert mean_of(work, lambda o: o.delay_s(95)) < 1.05 * mean_of(counts, lambda o: o.delay_s(95))


@pytest.mark.parametrize("report_delay_s", [0.2, 2.0])
def test_three_routers_do_not_herd_however_late_reports_are(report_delay_s: float) -> None:
    # Given work of which one call alone may be 20 s
    work = four_runs(ByWork, 4, report_delay_s)
    # Then the replica with the most stays near the mean, nearer than by counts
    assert mean_of(work, lambda o: o.imbalance) < 2.4
    assert mean_of(work, lambda o: o.imbalance) < mean_of(
        four_runs(ByCounts, 4), lambda o: o.imbalance
    )
