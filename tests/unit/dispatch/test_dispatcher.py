"""The request path over tiers in memory: what is sent, learned, cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from deployments.messages import EngineCall, Head, Load, Reply, Tail
from serve_app.asks import Ask
from serve_app.dispatch.dispatcher import Dispatcher
from serve_app.dispatch.sending.insurance import InsuranceBudget
from serve_app.errors import (
    DeadlineExceeded,
    EngineRejected,
    Saturated,
    SloInfeasible,
    Unavailable,
)
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.live.facts import EngineFacts, TierSettings
from serve_app.routing.live.ledger import Work
from serve_app.routing.live.state import TierState
from serve_app.routing.types import Slo
from serve_app.telemetry.records import RequestRecord
from tests.unit.builders import FAST, SLOW, a_config, an_ask
from tests.unit.telemetry.recording import a_recorder

LOAD: Load = {"replica": "x", "running": 0, "waiting": 0, "queued_tokens": 0, "kv_usage": 0.0}


class WordCounter:
    def count(self, body: dict[str, Any]) -> int:
        return len(str(body["messages"][0]["content"]).split())


class TierInMemory:
    """Answers at once, or hangs until cancelled, or refuses."""

    def __init__(self, behaviour: str = "answer") -> None:
        self.behaviour = behaviour
        self.calls: list[EngineCall] = []
        self.faults: list[EngineRejected] = []
        self.was_cancelled = False
        self.num_hanging = asyncio.Semaphore(0)

    async def complete(self, call: EngineCall) -> Reply:
        self.calls.append(call)
        await self._behave()
        usage = {"prompt_tokens": 2, "completion_tokens": 20}
        return {"status": 200, "body": b"{}", "usage": usage, "load": LOAD}

    async def stream(self, call: EngineCall) -> AsyncIterator[Head | bytes | Tail]:
        self.calls.append(call)
        await self._behave()
        yield {"status": 200, "data": b"first\n\n", "load": LOAD}
        if self.behaviour == "hang after first":
            await self._hang()
        yield b"second"
        usage = {"prompt_tokens": 2, "completion_tokens": 2}
        yield {"data": b"last", "usage": usage, "load": LOAD}

    async def _behave(self) -> None:
        if self.faults:
            raise self.faults.pop()
        if self.behaviour == "hang":
            await self._hang()
        if self.behaviour == "refuse":
            raise EngineRejected("no", status=400)

    async def _hang(self) -> None:
        self.num_hanging.release()
        try:
            await asyncio.Event().wait()
        except (asyncio.CancelledError, GeneratorExit):
            self.was_cancelled = True
            raise


def a_state(tier: str, profile: LatencyProfile, quality: float) -> TierState:
    settings = TierSettings(tier, {"default": quality}, 1.0, 0, None, profile)
    state = TierState(settings, default_output_tokens=40)
    state.num_replicas = 1
    state.engine_started(EngineFacts(profile, 4096, 16))
    return state


class TierOfTwoSpeeds(TierInMemory):
    """Answers after so many real seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def _behave(self) -> None:
        try:
            await asyncio.sleep(self._seconds)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


class Bench:
    """A dispatcher over two tiers in memory; the clock stands still unless a test moves it."""

    def __init__(self, behaviour: str = "answer", **config: Any) -> None:
        self.tiers = {"small": TierInMemory(behaviour), "large": TierInMemory(behaviour)}
        self.states = {"small": a_state("small", FAST, 1.0), "large": a_state("large", SLOW, 2.0)}
        self.counters: dict[str, Any] = dict.fromkeys(self.tiers, WordCounter())
        self.now = 0.0
        self.recorder, self.metrics = a_recorder()
        self.dispatcher = Dispatcher(
            a_config(**config), self.tiers, self.states, self.counters, self.recorder,
            clock=lambda: self.now,
        )  # fmt: skip

    @property
    def num_in_flight(self) -> int:
        return sum(state.ledger.num_in_flight for state in self.states.values())


async def test_the_chosen_tier_gets_the_body_with_its_own_name() -> None:
    bench = Bench()
    _, record = await bench.dispatcher.complete(an_ask())
    (call,) = bench.tiers["large"].calls
    assert call["body"]["model"] == "large"
    assert (record.tier, record.reason) == ("large", "no-slo")


async def test_a_finished_reply_teaches_speed_and_length() -> None:
    bench = Bench()
    before = bench.states["large"].lengths.mean_tokens
    await bench.dispatcher.complete(an_ask(max_tokens=500))
    assert bench.states["large"].lengths.mean_tokens < before
    assert bench.num_in_flight == 0


async def test_an_earlier_deadline_is_more_urgent_to_the_engine() -> None:
    bench = Bench()
    await bench.dispatcher.complete(an_ask("late", slo=Slo(e2e_ms=50_000)))
    await bench.dispatcher.complete(an_ask("soon", slo=Slo(e2e_ms=5_000)))
    late, soon = bench.tiers["large"].calls
    assert soon["priority"] < late["priority"]


async def test_a_stream_starts_with_its_record_and_ends_with_the_engines_last_word() -> None:
    bench = Bench()
    items = [item async for item in bench.dispatcher.stream(an_ask(is_streamed=True))]
    assert isinstance(items[0], RequestRecord)
    assert items[1:] == [b"first\n\n", b"second", b"last"]


async def test_a_caller_who_leaves_cancels_the_engine() -> None:
    # Given a request that the engine is working on
    bench = Bench("hang")
    task = asyncio.create_task(bench.dispatcher.complete(an_ask()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # When the caller leaves
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Then the engine was told, and nothing counts as in flight
    assert bench.tiers["large"].was_cancelled
    assert bench.num_in_flight == 0
    assert bench.metrics.counted("tandem_requests_total", status="499") == 1


async def test_closing_a_stream_cancels_the_engine() -> None:
    bench = Bench("hang after first")
    async with aclosing(bench.dispatcher.stream(an_ask(is_streamed=True))) as stream:
        await anext(stream)
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert bench.tiers["large"].was_cancelled
    assert bench.num_in_flight == 0


async def test_a_hard_deadline_stops_the_engine() -> None:
    bench = Bench("hang")
    with pytest.raises(DeadlineExceeded, match=r"0\.01 s"):
        await bench.dispatcher.complete(an_ask(deadline_s=0.01))
    assert bench.tiers["large"].was_cancelled
    assert bench.metrics.counted("tandem_requests_total", status="408") == 1


async def test_an_engines_refusal_reaches_the_caller_and_teaches_nothing() -> None:
    bench = Bench("refuse")
    with pytest.raises(EngineRejected):
        await bench.dispatcher.complete(an_ask())
    assert bench.states["large"].calibrator.speed_error.observations == 0


async def test_an_infeasible_request_never_reaches_an_engine() -> None:
    bench = Bench()
    ask = an_ask(slo=Slo(e2e_ms=1), max_tokens=20, is_length_fixed=True)
    with pytest.raises(SloInfeasible):
        await bench.dispatcher.complete(ask)
    assert not bench.tiers["small"].calls and not bench.tiers["large"].calls


async def test_without_any_tier_the_caller_is_told_to_wait() -> None:
    bench = Bench()
    bench.counters.clear()
    with pytest.raises(Unavailable, match="readyz"):
        await bench.dispatcher.complete(an_ask())


async def test_an_ended_request_can_be_explained() -> None:
    bench = Bench()
    await bench.dispatcher.complete(an_ask("r42"))
    decision = bench.recorder.decision("r42")
    assert decision is not None
    assert decision["selected"] == "large"
    assert decision["outcome"]["status"] == 200
    assert "Hello" not in str(decision)


async def test_a_timeout_is_learned_as_a_reply_that_takes_longer() -> None:
    bench = Bench("hang")
    before = bench.states["large"].lengths.snapshot()
    with pytest.raises(DeadlineExceeded):
        await bench.dispatcher.complete(an_ask(deadline_s=0.05, max_tokens=500))
    bench.now = 30.0
    assert bench.states["large"].view(bench.now).silence_s == 30.0
    assert bench.num_in_flight == 0
    assert before == bench.states["large"].lengths.snapshot()  # the clock stood still


async def test_a_queued_ask_is_sent_when_another_one_ends() -> None:
    # Given a large tier whose only slots are taken, and a caller who would rather wait
    bench = Bench("hang")
    ledger = bench.states["large"].ledger
    for number in range(16):
        ledger.start(f"earlier{number}", Work(1, 1, 0.0, 20.0), now=0.0)
    slo = Slo(e2e_ms=3000, on_infeasible=("queue", "reject"))
    ask = an_ask(slo=slo, pinned_tier="large", max_tokens=20, is_length_fixed=True)
    waiting = asyncio.create_task(bench.dispatcher.complete(ask))
    await asyncio.sleep(0.05)
    assert not bench.tiers["large"].calls
    # When they are free again
    bench.tiers["large"].behaviour = "answer"
    for number in range(16):
        ledger.finish(f"earlier{number}", replicas=1, now=0.1)
    # Then it is answered, a little later
    _, record = await asyncio.wait_for(waiting, timeout=5)
    assert record.tier == "large"


async def test_a_queued_ask_that_becomes_hopeless_is_refused() -> None:
    bench = Bench("hang")
    ledger = bench.states["large"].ledger
    for number in range(16):
        ledger.start(f"earlier{number}", Work(1, 1, 0.0, 20.0), now=0.0)
    slo = Slo(e2e_ms=3000, on_infeasible=("queue", "reject"))
    ask = an_ask(slo=slo, pinned_tier="large", max_tokens=20, is_length_fixed=True)
    waiting = asyncio.create_task(bench.dispatcher.complete(ask))
    await asyncio.sleep(0.05)
    bench.now = 2.9
    with pytest.raises(SloInfeasible):
        await asyncio.wait_for(waiting, timeout=5)
    assert not bench.tiers["large"].calls


async def test_a_full_waiting_room_refuses_with_a_time() -> None:
    bench = Bench("hang", admission={"max_queued": 0})
    for number in range(16):
        work = Work(1, 1, 0.0, 20.0)
        bench.states["large"].ledger.start(f"earlier{number}", work, now=0.0)
    slo = Slo(e2e_ms=3000, on_infeasible=("queue", "reject"))
    ask = an_ask(slo=slo, pinned_tier="large", max_tokens=20, is_length_fixed=True)
    with pytest.raises(Saturated) as refusal:
        await bench.dispatcher.complete(ask)
    assert refusal.value.retry_after_s > 10
    # And a place is kept for whoever was told to come back
    assert bench.states["large"].promises.next_due_s is not None


async def test_who_cannot_wait_in_a_full_room_gets_the_next_that_it_asked_for() -> None:
    bench = Bench(admission={"max_queued": 0})
    for number in range(16):
        bench.states["large"].ledger.start(f"earlier{number}", Work(1, 1, 0.0, 20.0), now=0.0)
    slo = Slo(e2e_ms=3000, on_infeasible=("queue", "degrade"))
    ask = an_ask(slo=slo, pinned_tier="large", max_tokens=20, is_length_fixed=True)
    _, record = await bench.dispatcher.complete(ask)
    assert (record.tier, record.status) == ("large", 200)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_an_engine_may_be_silent_for_as_long_as_the_longest_reply_takes(
    is_streamed: bool,
) -> None:
    # Given replies that are usually short, and one that may become long
    bench = Bench()
    for number in range(100):
        await bench.dispatcher.complete(an_ask(f"r{number}", pinned_tier="large"))
    ask = an_ask(pinned_tier="large", max_tokens=4000, is_streamed=is_streamed)
    if is_streamed:
        async with aclosing(bench.dispatcher.stream(ask)) as stream:
            await anext(stream)
    else:
        await bench.dispatcher.complete(ask)
    # Then it is taken for stalled after that; but what is streamed says something meanwhile
    patience_s = bench.tiers["large"].calls[-1]["patience_s"]
    assert (patience_s > 4000 * SLOW.step_base_s) == (not is_streamed)


async def test_a_fitted_reply_is_limited_in_the_engine() -> None:
    bench = Bench()
    slo = Slo(e2e_ms=1500, on_infeasible=("fit",))
    ask = an_ask(slo=slo, max_tokens=2000, is_length_fixed=True)
    _, record = await bench.dispatcher.complete(ask)
    (call,) = bench.tiers[record.tier or ""].calls
    assert record.decision is not None
    assert call["body"]["max_tokens"] == record.decision.fitted_max_tokens
    assert 16 <= record.decision.fitted_max_tokens < 200


def an_insured_ask() -> Ask:
    """One that the large tier meets with some 80 %."""
    slo = Slo(e2e_ms=1050, is_insured=True)
    return an_ask(slo=slo, max_tokens=23, is_length_fixed=True)


@pytest.mark.parametrize(("small_s", "large_s", "winner"), [(60, 0, "large"), (0, 60, "small")])
async def test_insurance_returns_the_better_reply_if_it_is_in_time(
    small_s: float, large_s: float, winner: str
) -> None:
    # Given a class that insures, and a large tier that is quick or slow
    bench = Bench(routing={"insurance_budget": 1.0})
    bench.tiers |= {"small": TierOfTwoSpeeds(small_s), "large": TierOfTwoSpeeds(large_s)}
    # When a request comes that the large tier will only probably meet
    _, record = await asyncio.wait_for(bench.dispatcher.complete(an_insured_ask()), timeout=30)
    # Then the better reply wins if it is there, the loser is stopped, and nothing stays behind
    assert (record.tier, record.is_insured) == (winner, True)
    loser = bench.tiers["small" if winner == "large" else "large"]
    assert loser.was_cancelled
    assert bench.num_in_flight == 0


async def test_insurance_keeps_to_its_budget() -> None:
    budget = InsuranceBudget(0.05)
    taken = sum(budget.take() for _ in range(2000))
    assert taken / 2000 == pytest.approx(0.05, abs=0.01)
    assert not any(InsuranceBudget(0.0).take() for _ in range(10))


async def test_a_first_token_that_is_due_soon_is_urgent_to_the_engine() -> None:
    bench = Bench()
    await bench.dispatcher.complete(an_ask("whole", slo=Slo(e2e_ms=30_000)))
    await bench.dispatcher.complete(an_ask("first", slo=Slo(ttft_ms=5_000)))
    whole, first = bench.tiers["large"].calls
    assert first["priority"] < whole["priority"]


async def test_saying_that_one_was_refused_before_opens_no_door() -> None:
    # Given a caller whom nobody told to come back
    bench = Bench()
    slo = Slo(e2e_ms=1130)
    ask = an_ask(slo=slo, max_tokens=23, is_length_fixed=True, pinned_tier="large")
    refused = an_ask("again", slo=slo, max_tokens=23, is_length_fixed=True, pinned_tier="large",
                     is_returning=True)  # fmt: skip
    # Then he is judged as strictly as anybody
    for each in (ask, refused):
        with pytest.raises(SloInfeasible):
            await bench.dispatcher.complete(each)


async def test_a_queued_ask_is_ended_by_its_hard_deadline() -> None:
    # Given a full tier, and a caller who waits up to 2 s for what may take 60
    bench = Bench("hang")
    ledger = bench.states["large"].ledger
    for number in range(16):
        ledger.start(f"earlier{number}", Work(1, 1, 0.0, 20.0), now=0.0)
    slo = Slo(e2e_ms=60_000, attainment=0.999999, on_infeasible=("queue", "reject"))
    ask = an_ask(slo=slo, pinned_tier="large", max_tokens=900, is_length_fixed=True, deadline_s=2.0)
    waiting = asyncio.create_task(bench.dispatcher.complete(ask))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    # When the 2 s are over
    bench.now = 2.1
    # Then it is not kept waiting for the other 58
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(waiting, timeout=5)
    assert not bench.tiers["large"].calls


async def test_a_retry_is_not_taken_for_another_request_of_such_a_name() -> None:
    # Given a request that is tried again, and one whose caller calls it like that
    bench = Bench("hang")
    own = asyncio.create_task(bench.dispatcher.complete(an_ask("order-1")))
    await asyncio.sleep(0)
    bench.tiers["large"].faults = [EngineRejected("broken", status=500)]
    retried = asyncio.create_task(bench.dispatcher.complete(an_ask("order", pinned_tier="large")))
    for _ in (own, retried):
        await asyncio.wait_for(bench.tiers["large"].num_hanging.acquire(), timeout=5)
    assert bench.num_in_flight == 2
    # When both end
    for task in (own, retried):
        task.cancel()
    await asyncio.gather(own, retried, return_exceptions=True)
    # Then neither is left behind
    assert bench.states["large"].ledger.num_sequences == 0


async def test_a_stream_that_is_left_is_known_by_the_events_it_said() -> None:
    bench = Bench("hang after first")
    async with aclosing(bench.dispatcher.stream(an_ask(is_streamed=True))) as stream:
        record = await anext(stream)
        await anext(stream)
    assert isinstance(record, RequestRecord)
    assert (record.usage, record.num_events) == (None, 1)
