"""Which replica a call goes to: the pure chooser, then three of them over simulated replicas."""

import math
import random
import statistics
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.messages import EngineCall, Load
from deployments.work import WorkInHand, predicted_work_s
from serve_app.replica_choice.adapters import AdaptersUnderway
from serve_app.replica_choice.chooser import Call, ReplicaChooser
from serve_app.replica_choice.delay import delay_s
from serve_app.replica_choice.others import Others, OthersLoad
from serve_app.replica_choice.recent import Recent
from serve_app.replica_choice.replies import inbox

REPLICAS = ("a", "b", "c")


def a_chooser(slots: int = 1, seed: int = 0, affinity_bound_s: float = 1.0) -> ReplicaChooser:
    return ReplicaChooser(slots, random.Random(seed), affinity_bound_s=affinity_bound_s)


def a_call(request_id: str = "r", work_s: float = 1.0, session_id: str | None = None) -> Call:
    return Call(request_id, work_s, session_id)


def a_load(replica: str, work_s: float) -> Load:
    return {
        "replica": replica, "running": 1, "waiting": 0, "queued_tokens": 0, "kv_usage": 0.1,
        "work_s": work_s,
    }  # fmt: skip


def an_engine_call(**changes: object) -> EngineCall:
    body: dict[str, object] = {"messages": [{"role": "user", "content": "Hello"}]}
    call: EngineCall = {
        "endpoint": "chat", "request_id": "r", "body": body | changes, "priority": 0, "headers": {},
    }  # fmt: skip
    return call


def firsts(chooser: ReplicaChooser, now: float, call: Call | None = None) -> Counter[str]:
    """How often each replica is the first choice in 100 draws."""
    asked = call or a_call("asked")
    return Counter(chooser.choose(REPLICAS, asked, now)[0] for _ in range(100))


def delay_on(chooser: ReplicaChooser, replica: str, now: float) -> float:
    """Seconds until a slot is free; of one slot, so all the work there is."""
    return chooser.delay_s(replica, 0.0, now)


# Work in hand


def test_running_work_shrinks_as_time_passes_and_waiting_work_does_not() -> None:
    work = WorkInHand(slots=1)
    work.add("runs", 10.0, now=0.0)
    work.add("waits", 5.0, now=0.0)
    assert work.left_s(now=4.0) == pytest.approx(6.0 + 5.0)


def test_the_longest_waiting_call_takes_a_slot_that_becomes_free() -> None:
    work = WorkInHand(slots=1)
    work.add("runs", 10.0, now=0.0)
    work.add("waits", 5.0, now=0.0)
    work.remove("runs", now=2.0)
    assert work.left_s(now=3.0) == pytest.approx(4.0)


def test_a_call_that_outlasts_its_prediction_still_counts() -> None:
    work = WorkInHand(slots=1)
    work.add("r", 10.0, now=0.0)
    assert work.left_s(now=1000.0) > 0.0


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.booleans()), max_size=40), st.integers(1, 8))
def test_work_that_ended_leaves_nothing_behind(calls: list[tuple[float, bool]], slots: int) -> None:
    # Given calls, of which some end while others arrive
    work = WorkInHand(slots)
    for index, (work_s, ends_now) in enumerate(calls):
        work.add(index, work_s, now=float(index))
        assert work.left_s(now=float(index)) >= 0.0
        if ends_now:
            work.remove(index // 2, now=float(index))
    # When all have ended
    for index in range(len(calls)):
        work.remove(index, now=1000.0)
    # Then
    assert len(work) == 0
    assert work.left_s(now=1000.0) == 0.0


@given(st.floats(0.0, 1e6))
def test_broadcast_work_is_a_power_of_two_at_most_what_is_left(work_s: float) -> None:
    work = WorkInHand(slots=1)
    work.add("r", work_s, now=0.0)
    told = work.broadcast(now=0.0)
    assert told["calls"] == 1.0
    assert told["work_s"] <= work_s < max(1.0, 2.0 * told["work_s"])


def test_a_prediction_is_the_callers_own_or_by_the_lengths_in_the_body() -> None:
    predicted = an_engine_call(max_tokens=1)
    predicted["work_s"] = 7.0
    assert predicted_work_s(predicted) == 7.0
    short, long = an_engine_call(max_tokens=10), an_engine_call(max_tokens=1000)
    assert predicted_work_s(long) > 50 * predicted_work_s(short)
    assert predicted_work_s(an_engine_call()) == pytest.approx(1.0, abs=0.01)


# Delay


def test_a_short_call_sees_how_many_calls_there_are_and_a_long_one_their_work() -> None:
    few_long, many_short = [20.0, 20.0], [1.0, 1.0, 1.0, 1.0]
    assert delay_s(few_long, slots=8, work_s=1.0) < delay_s(many_short, slots=8, work_s=1.0)
    assert delay_s(few_long, slots=8, work_s=20.0) > delay_s(many_short, slots=8, work_s=20.0)


def test_a_full_replica_costs_the_wait_for_a_slot() -> None:
    # Given two slots: one free after 3 s, taken for 4 s by the call that waits; the other after 5 s
    assert delay_s([3.0, 5.0, 4.0], slots=2, work_s=0.0) == pytest.approx(5.0)
    assert delay_s([3.0], slots=2, work_s=0.0) == 0.0


@given(st.lists(st.floats(0.0, 100.0), max_size=20), st.floats(0.0, 100.0), st.integers(1, 8))
def test_another_call_never_makes_the_delay_smaller(
    left: list[float], work_s: float, slots: int
) -> None:
    without = delay_s(left, slots, work_s)
    assert 0.0 <= without <= delay_s([*left, 10.0], slots, work_s) + 1e-9


# Choice


def test_nothing_is_chosen_while_nothing_is_known() -> None:
    assert a_chooser().choose(REPLICAS, a_call(), now=0.0) == ()


def test_one_long_call_weighs_more_than_several_short_ones_that_fill_no_more_slots() -> None:
    # Given one replica with a single call of 20 s, and two with three calls of 1 s each
    chooser = a_chooser()
    chooser.sent("a", a_call("long", 20.0), now=0.0)
    for index in range(6):
        chooser.sent("bc"[index % 2], a_call(f"short-{index}", 1.0), now=0.0)
    # When others are chosen for, then the long one is avoided though it is one call
    assert firsts(chooser, now=0.0)["a"] == 0


def test_a_long_call_weighs_less_the_longer_it_runs() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("long", 20.0), now=0.0)
    chooser.sent("b", a_call("later", 10.0), now=15.0)
    chooser.sent("c", a_call("latest", 10.0), now=15.0)
    assert firsts(chooser, now=15.0, call=a_call(work_s=20.0))["a"] > 50


def test_the_same_seed_chooses_the_same_replicas() -> None:
    def choices(seed: int) -> list[tuple[str, ...]]:
        chooser = a_chooser(seed=seed)
        chooser.sent("a", a_call("first"), now=0.0)
        return [chooser.choose(REPLICAS, a_call(), now=0.0) for _ in range(20)]

    assert choices(3) == choices(3)
    assert choices(3) != choices(4)


def test_a_finished_call_weighs_nothing() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("r", 10.0), now=0.0)
    chooser.finished("r", "a", now=1.0)
    assert delay_on(chooser, "a", now=1.0) == 0.0


def test_a_call_that_serve_sent_elsewhere_moves() -> None:
    # Given a call that was booked on one replica, refused there and accepted by another
    chooser = a_chooser()
    chooser.sent("a", a_call("r", 10.0), now=0.0)
    chooser.sent("b", a_call("r", 10.0), now=0.1)
    # When the first replica's refusal is completed late
    chooser.finished("r", "a", now=0.2)
    # Then
    assert delay_on(chooser, "a", now=0.2) == 0.0
    assert delay_on(chooser, "b", now=0.2) > 9.0


def test_a_call_whose_end_was_never_told_is_forgotten() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("lost", 10.0), now=0.0)
    chooser.sent("b", a_call("next", 10.0), now=4000.0)
    assert delay_on(chooser, "a", now=4000.0) == 0.0


@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True),
    st.integers(0, 1000),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0.0, 100.0)), max_size=10),
)
def test_only_replicas_that_are_there_are_chosen_and_each_once(
    there: list[str], seed: int, sent: list[tuple[str, float]]
) -> None:
    chooser = a_chooser(seed=seed)
    for index, (replica, work_s) in enumerate(sent):
        chooser.sent(replica, a_call(str(index), work_s, session_id="s"), now=0.0)
        if index % 3 == 0:
            chooser.failed(str(index), now=0.0)
    chosen = chooser.choose(there, a_call("next", session_id="s"), now=1.0)
    assert set(chosen) <= set(there)
    assert len(set(chosen)) == len(chosen)
    assert bool(chosen) == bool(sent)


# Failures and newcomers


def test_a_replica_that_failed_a_call_is_spared_for_a_while() -> None:
    # Given a broken replica, idle because it fails at once, and two busy ones
    chooser = a_chooser()
    chooser.sent("b", a_call("r1"), now=0.0)
    chooser.sent("c", a_call("r2"), now=0.0)
    chooser.sent("a", a_call("r3"), now=0.0)
    chooser.finished("r3", "a", now=0.1)
    chooser.failed("r3", now=0.1)
    # Then it is not chosen now, and is tried again later
    assert firsts(chooser, now=0.2)["a"] == 0
    assert firsts(chooser, now=6.0)["a"] > 0


def test_when_every_replica_failed_one_is_chosen_all_the_same() -> None:
    chooser = a_chooser()
    for replica in REPLICAS:
        chooser.sent(replica, a_call(f"r-{replica}"), now=0.0)
        chooser.rest(replica, now=0.0)
    assert len(chooser.choose(REPLICAS, a_call(), now=0.1)) == 2


def test_a_new_replica_is_chosen_but_does_not_draw_every_call() -> None:
    # Given two replicas that other routers keep busy, and one nobody has heard of
    chooser = a_chooser()
    chooser.report(a_load("a", 10.0), now=0.0)
    chooser.report(a_load("b", 10.0), now=0.0)
    # Then the new one counts as an average one
    assert delay_on(chooser, "c", now=0.0) == delay_on(chooser, "a", now=0.0) > 0.0
    assert 0 < firsts(chooser, now=0.0)["c"] < 100


# Reports


def test_what_is_ours_in_a_report_is_not_counted_twice() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("r", 10.0), now=0.0)
    chooser.report(a_load("a", 10.0), now=0.0)
    assert delay_on(chooser, "a", now=0.0) == pytest.approx(10.0)


def test_a_count_tells_of_calls_that_no_report_has_told_yet() -> None:
    # Given a report of one call of 10 s that is not ours
    chooser = a_chooser()
    chooser.report(a_load("a", 10.0), now=0.0)
    # When the replica accepts ours as its third
    chooser.sent("a", a_call("r", 5.0), now=0.1)
    chooser.counted("a", 3, now=0.1)
    # Then the other two are taken to be alike
    assert delay_on(chooser, "a", now=0.1) == pytest.approx(5.0 + 2 * 10.0)


def test_other_routers_work_is_avoided() -> None:
    chooser = a_chooser()
    chooser.report(a_load("a", 30.0), now=0.0)
    chooser.report(a_load("b", 1.0), now=0.0)
    chooser.report(a_load("c", 1.0), now=0.0)
    assert firsts(chooser, now=0.1)["a"] == 0


def test_an_old_report_fades_to_the_mean_and_never_to_idle() -> None:
    # Given an old report of a busy replica, and a fresh one of a less busy one
    others = Others()
    others.replied("a", OthersLoad(3.0, 30.0), now=0.0)
    others.replied("b", OthersLoad(1.0, 10.0), now=9.0)
    # When it ages, then it moves to the mean, which the fresh one dominates
    ages = [others.load("a", now).work_s for now in (0.0, 9.5, 100.0)]
    assert ages[0] > ages[1] > ages[2] >= 10.0
    assert others.load("b", now=100.0).work_s == ages[2]


def test_an_idle_report_that_is_old_is_not_believed() -> None:
    others = Others()
    others.replied("a", OthersLoad(0.0, 0.0), now=0.0)
    others.replied("b", OthersLoad(2.0, 20.0), now=11.0)
    assert others.load("a", now=12.0).work_s == pytest.approx(20.0)


def test_a_broadcast_stands_in_for_replies_until_one_comes() -> None:
    others = Others()
    others.broadcast("a", OthersLoad(2.0, 16.0))
    others.broadcast("b", OthersLoad(0.0, 0.0))
    assert others.load("a", now=0.0).work_s > others.load("b", now=0.0).work_s
    others.replied("a", OthersLoad(1.0, 2.0), now=0.0)
    assert others.load("a", now=0.0) == OthersLoad(1.0, 2.0)


@given(st.integers(0, 50), st.floats(0.0, 1000.0))
def test_others_are_taken_apart_without_losing_work(num_calls: int, work_s: float) -> None:
    left = OthersLoad(float(num_calls), work_s).left()
    assert len(left) == num_calls
    assert sum(left) == pytest.approx(work_s if num_calls else 0.0)


def test_a_replica_that_is_gone_is_forgotten() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("r", 10.0), now=0.0)
    chooser.keep({"b"})
    chooser.finished("r", "a", now=1.0)
    assert delay_on(chooser, "a", now=1.0) == 0.0


# Sessions


def test_a_session_stays_on_its_replica() -> None:
    chooser = a_chooser()
    chooser.sent("b", a_call("r", 0.4, session_id="s"), now=0.0)
    asked = a_call("next", session_id="s")
    assert firsts(chooser, 0.0, asked)["b"] == 100


def test_a_session_leaves_a_replica_that_is_too_busy_and_stays_where_it_went() -> None:
    # Given a session on a replica with 20 s of work more per slot than the others
    chooser = a_chooser()
    chooser.sent("b", a_call("long", 20.0, session_id="s"), now=0.0)
    # When it calls again
    spilled = chooser.choose(REPLICAS, a_call("next", session_id="s"), now=0.0)
    chooser.sent(spilled[0], a_call("next", 0.5, session_id="s"), now=0.0)
    # Then it goes elsewhere, and its third call follows the second
    assert spilled[0] != "b"
    third = chooser.choose(REPLICAS, a_call("third", session_id="s"), now=0.1)
    assert third[0] == spilled[0]


def test_openais_prompt_cache_key_is_a_session_too() -> None:
    assert Call.of(an_engine_call(prompt_cache_key="chat-7")).session_id == "chat-7"
    named = an_engine_call(prompt_cache_key="chat-7")
    named["session_id"] = "ours"
    assert Call.of(named).session_id == "ours"
    assert Call.of(an_engine_call(prompt_cache_key=7)).session_id is None


def test_what_was_written_longest_ago_is_forgotten_first() -> None:
    recent: Recent[str, int] = Recent(most=2)
    for key in ("a", "b", "a", "c"):
        recent.put(key, 1)
    assert (recent.get("a"), recent.get("b"), len(recent)) == (1, None, 2)


def test_an_adapters_last_replica_is_remembered_for_as_long_as_news_of_it_may_take() -> None:
    underway = AdaptersUnderway()
    underway.sent("legal", "a", 100.0)
    underway.sent("legal", "b", 101.0)
    assert underway.replica_for("legal", 105.9) == "b"
    assert underway.replica_for("legal", 106.0) is None
    assert underway.replica_for("other", 101.0) is None


def test_tier_and_router_of_a_deployment_share_an_inbox() -> None:
    assert inbox("app", "tier-x") is inbox("app", "tier-x")
    assert inbox("app", "tier-x") is not inbox("app", "tier-y")


# Three routers over simulated replicas


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
