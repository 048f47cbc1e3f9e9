"""The request path when tiers fail: tried again, continued, refused. Tiers in memory."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import Any

import orjson
import pytest

from deployments.messages import EngineCall, Head, Load, Reply, Tail
from serve_app.dispatch.dispatcher import Dispatcher
from serve_app.errors import (
    ContextWindowExceeded,
    DeadlineExceeded,
    EngineRejected,
    ReplicaLost,
    RequestQuarantined,
    ShuttingDown,
    TandemError,
    Unavailable,
)
from serve_app.routing.types import Slo
from serve_app.telemetry.records import RequestRecord
from tests.unit.builders import FAST, SLOW, a_config, an_ask
from tests.unit.dispatch.test_dispatcher import a_state
from tests.unit.telemetry.recording import a_recorder

LOAD: Load = {"replica": "x", "running": 0, "waiting": 0, "queued_tokens": 0, "kv_usage": 0.0}
WORDS = [f" {number}" for number in range(1, 11)]


class Words:
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [0] * len(text.split())

    def count(self, body: dict[str, Any]) -> int:
        return sum(len(str(message["content"]).split()) for message in body["messages"])


class CountingTier:
    """Counts to ten, going on from what it is given; `faults` are raised one per call.

    breaks_after: tokens that a failing stream says first.
    """

    def __init__(self, *faults: TandemError | None, breaks_after: int = 0) -> None:
        self.faults = list(faults)
        self.breaks_after = breaks_after
        self.calls: list[EngineCall] = []

    async def complete(self, call: EngineCall) -> Reply:
        fault = self._called(call)
        if fault is not None:
            raise fault
        usage = {"prompt_tokens": 2, "completion_tokens": 10}
        return {"status": 200, "body": b"{}", "usage": usage, "load": LOAD}

    async def stream(self, call: EngineCall) -> AsyncGenerator[Head | bytes | Tail, None]:
        fault = self._called(call)
        messages: Any = call["body"]["messages"]
        said = messages[-1]["content"].split() if messages[-1]["role"] == "assistant" else []
        prompt_tokens = Words().count(call["body"])
        yield_first = fault is None or self.breaks_after
        if not yield_first:
            raise fault or AssertionError
        yield {"status": 200, "data": a_chunk("", call, role="assistant"), "load": LOAD}
        words = WORDS[len(said) :]
        for word in words if fault is None else words[: self.breaks_after]:
            yield a_chunk(word, call)
        if fault is not None:
            raise fault
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": len(words)}
        yield {"data": b"data: [DONE]\n\n", "usage": usage, "load": LOAD}

    def _called(self, call: EngineCall) -> TandemError | None:
        self.calls.append(call)
        return self.faults.pop(0) if self.faults else None


class Router:
    """A dispatcher over a small and a large tier; the large one is preferred."""

    def __init__(self, *, replicas: int = 1, is_going: bool = False, **parts: Any) -> None:
        self.tiers = {
            "small": parts.pop("small", CountingTier()),
            "large": parts.pop("large", CountingTier()),
        }
        self.states = {"small": a_state("small", FAST, 1.0), "large": a_state("large", SLOW, 2.0)}
        for state in self.states.values():
            state.num_replicas = replicas
        self.now = 0.0
        recorder, _ = a_recorder()
        counters: dict[str, Any] = dict.fromkeys(self.tiers, Words())
        self.dispatcher = Dispatcher(
            a_config(resilience=parts), self.tiers, self.states, counters, recorder,
            clock=lambda: self.now, is_going=lambda: is_going, tell=self._tell,
        )  # fmt: skip
        self.fellows: list[Router] = []

    async def _tell(self, content: str, replicas: Collection[str]) -> None:
        for fellow in self.fellows:
            fellow.dispatcher.died(content, replicas)

    async def read(self, **ask: Any) -> tuple[str, RequestRecord]:
        """A whole stream's text, and its record."""
        pieces = [piece async for piece in self.dispatcher.stream(an_ask(is_streamed=True, **ask))]
        record = pieces.pop(0)
        assert isinstance(record, RequestRecord)
        data = b"".join(piece for piece in pieces if isinstance(piece, bytes))
        assert data.endswith(b"data: [DONE]\n\n")
        events = [e.removeprefix(b"data: ") for e in data.split(b"\n\n") if b"{" in e]
        deltas = [orjson.loads(event)["choices"][0]["delta"] for event in events]
        return "".join(delta.get("content", "") for delta in deltas), record


def a_chunk(text: str, call: EngineCall, **delta: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text} | delta, "finish_reason": None}
    return b"data: " + orjson.dumps({"id": call["request_id"], "choices": [choice]}) + b"\n\n"


def a_death(replica: str = "a") -> ReplicaLost:
    return ReplicaLost("died", replica=replica)


def a_failure() -> EngineRejected:
    return EngineRejected("broken", status=500)


async def test_a_dead_replicas_request_is_answered_by_the_next_one_of_its_tier() -> None:
    router = Router(large=CountingTier(a_death()), replicas=2)
    _, record = await router.dispatcher.complete(an_ask())
    assert (record.tier, record.attempts, record.status) == ("large", 2, 200)
    assert len({call["request_id"] for call in router.tiers["large"].calls}) == 2


async def test_the_last_replicas_request_goes_to_another_tier() -> None:
    router = Router(large=CountingTier(a_death()))
    _, record = await router.dispatcher.complete(an_ask())
    assert (record.tier, record.reason) == ("small", "fallback-error")


async def test_a_request_whose_time_has_become_too_short_is_still_answered() -> None:
    # Given a deadline that is infeasible by the time of the retry, and a caller who wants refusals
    router = Router(large=CountingTier(a_death()))
    slo = Slo(e2e_ms=2_000, on_infeasible=("reject",))
    await_death = router.tiers["large"].complete

    async def late(call: EngineCall) -> Reply:
        router.now = 1.99
        return await await_death(call)

    router.tiers["large"].complete = late  # type: ignore[method-assign]
    # When it is tried again, then it is answered and not refused
    _, record = await router.dispatcher.complete(an_ask(slo=slo))
    assert (record.attempts, record.status) == (2, 200)


async def test_a_pinned_request_stays_on_its_tier() -> None:
    router = Router(large=CountingTier(a_failure(), a_failure()))
    _, record = await router.dispatcher.complete(an_ask(pinned_tier="large"))
    assert (record.tier, record.attempts) == ("large", 3)
    assert not router.tiers["small"].calls


async def test_a_pinned_request_follows_the_fallbacks_that_are_listed() -> None:
    router = Router(large=CountingTier(a_failure()), fallbacks=[{"large": ["small"]}])
    _, record = await router.dispatcher.complete(an_ask(pinned_tier="large"))
    assert (record.tier, record.reason) == ("small", "fallback-error")


async def test_an_adapters_request_is_not_sent_to_a_fallback_without_the_adapter() -> None:
    router = Router(large=CountingTier(a_failure()), fallbacks=[{"large": ["small"]}])
    ask = an_ask(pinned_tier="large", adapter="support", tiers=frozenset({"large"}))
    _, record = await router.dispatcher.complete(ask)
    assert (record.tier, record.attempts) == ("large", 2)
    assert not router.tiers["small"].calls


async def test_a_prompt_too_long_for_its_tier_follows_the_context_window_fallbacks() -> None:
    body = {"messages": [{"role": "user", "content": "word " * 5000}]}
    ask = an_ask(pinned_tier="small", body=body)
    fallbacks = [{"small": ["large"]}]
    for listed in ([], fallbacks):
        router = Router(context_window_fallbacks=listed)
        facts = router.states["large"]._facts
        assert facts is not None
        router.states["large"].engine_started(
            type(facts)(facts.profile, 16_000, facts.max_num_seqs)
        )
        if not listed:
            with pytest.raises(ContextWindowExceeded):
                await router.dispatcher.complete(ask)
            continue
        _, record = await router.dispatcher.complete(ask)
        assert (record.tier, record.reason) == ("large", "context-window")


async def test_what_the_engine_refuses_is_not_tried_again() -> None:
    router = Router(large=CountingTier(EngineRejected("bad field", status=400)))
    with pytest.raises(EngineRejected):
        await router.dispatcher.complete(an_ask())
    assert not router.tiers["small"].calls


async def test_a_tier_that_keeps_failing_is_left_alone_until_a_probe_succeeds() -> None:
    # Given a tier that failed more often than allowed
    router = Router(large=CountingTier(*[a_failure()] * 3), allowed_fails=2, cooldown_time=5.0)
    for _ in range(3):
        await router.dispatcher.complete(an_ask())
    # When further requests come, then they go elsewhere at once
    _, record = await router.dispatcher.complete(an_ask())
    assert (record.tier, record.reason, record.attempts) == ("small", "breaker-open", 1)
    # And after the cooldown one probes it, and the next are back
    router.now = 5.1
    for _ in range(2):
        _, record = await router.dispatcher.complete(an_ask())
        assert record.tier == "large"


async def test_a_tier_without_replicas_gets_no_calls_that_could_only_wait() -> None:
    router = Router(large=CountingTier(a_death()), replicas=1)
    for _ in range(2):
        _, record = await router.dispatcher.complete(an_ask())
    assert (record.tier, record.reason) == ("small", "breaker-open")
    assert len(router.tiers["large"].calls) == 1


async def test_when_everything_is_being_stopped_the_caller_is_told_so_at_once() -> None:
    router = Router(recovery_s=1e9, is_going=True)
    for state in router.states.values():
        state.num_replicas = 0
    with pytest.raises(ShuttingDown) as refused:
        await router.dispatcher.complete(an_ask())
    assert refused.value.headers == {"x-router-dropped-reason": "rejected-shutting-down"}


async def test_an_open_breaker_refuses_nobody_who_has_nowhere_else_to_go() -> None:
    router = Router(large=CountingTier(*[a_failure()] * 2), allowed_fails=0, num_retries=2)
    _, record = await router.dispatcher.complete(an_ask(pinned_tier="large"))
    assert record.tier == "large"


async def test_retries_end_with_the_budget() -> None:
    router = Router(large=CountingTier(a_death()), retry_budget=0.0)
    with pytest.raises(ReplicaLost):
        await router.dispatcher.complete(an_ask())


async def test_nothing_is_tried_again_after_the_deadline() -> None:
    class Late(CountingTier):
        async def complete(self, call: EngineCall) -> Reply:
            router.now = 60.0
            return await super().complete(call)

    router = Router(large=Late(a_death()))
    with pytest.raises(ReplicaLost):
        await router.dispatcher.complete(an_ask())
    assert not router.tiers["small"].calls


async def test_a_poison_request_kills_two_and_no_more() -> None:
    deaths = [a_death(replica) for replica in "abcdef"]
    router = Router(large=CountingTier(*deaths[:3]), small=CountingTier(*deaths[3:]), replicas=3)
    for request_id in ("r1", "r2"):
        with pytest.raises(RequestQuarantined, match=request_id) as refused:
            await router.dispatcher.complete(an_ask(request_id))
        assert refused.value.status == 500
    assert sum(len(tier.calls) for tier in router.tiers.values()) == 2
    other = an_ask(body={"messages": [{"role": "user", "content": "harmless"}]})
    router.tiers["large"].faults.clear()
    await router.dispatcher.complete(other)


async def test_a_request_is_not_blamed_for_the_replicas_of_a_node_that_died() -> None:
    deaths = [ReplicaLost("died", replica=replica, with_node=True) for replica in "ab"]
    router = Router(large=CountingTier(*deaths), replicas=3)
    _, record = await router.dispatcher.complete(an_ask())
    assert (record.tier, record.attempts) == ("small", 3)


async def test_what_killed_two_engines_reaches_no_engine_through_another_router() -> None:
    first, second = Router(large=CountingTier(a_death("a"), a_death("b")), replicas=3), Router()
    first.fellows = [first, second]
    with pytest.raises(RequestQuarantined):
        await first.dispatcher.complete(an_ask())
    with pytest.raises(RequestQuarantined):
        await second.dispatcher.complete(an_ask())
    assert not any(tier.calls for tier in second.tiers.values())


async def test_a_request_waits_for_a_tier_to_come_back() -> None:
    router = Router(recovery_s=1e9)
    for state in router.states.values():
        state.num_replicas = 0
    waiting = asyncio.create_task(router.dispatcher.complete(an_ask()))
    await asyncio.sleep(0)
    router.states["small"].num_replicas = 1
    _, record = await waiting
    assert record.tier == "small"


async def test_waiting_for_a_tier_ends_with_the_deadline_or_at_once_if_so_configured() -> None:
    for recovery_s, error in ((1e9, DeadlineExceeded), (0.0, Unavailable)):
        router = Router(recovery_s=recovery_s)
        for state in router.states.values():
            state.num_replicas = 0
        waiting = asyncio.create_task(router.dispatcher.complete(an_ask()))
        await asyncio.sleep(0)
        router.now = 61.0
        with pytest.raises(error):
            await waiting


@pytest.mark.parametrize("breaks_after", [1, 3, 9])
async def test_a_broken_stream_goes_on_without_a_gap_or_a_repeated_token(
    breaks_after: int,
) -> None:
    router = Router(large=CountingTier(a_death(), breaks_after=breaks_after), replicas=2)
    text, record = await router.read()
    assert text == "".join(WORDS)
    assert record.usage == {"prompt_tokens": 2, "completion_tokens": 10}
    assert router.tiers["large"].calls[1]["body"]["continue_final_message"] is True


async def test_a_stream_that_breaks_twice_goes_on_twice() -> None:
    large = CountingTier(a_death("a"), breaks_after=3)
    router = Router(large=large, small=CountingTier(a_failure(), breaks_after=4))
    text, record = await router.read()
    assert (text, record.attempts) == ("".join(WORDS), 3)


async def test_a_stream_that_fails_before_its_first_token_is_simply_tried_again() -> None:
    router = Router(large=CountingTier(a_death()), replicas=2)
    text, _ = await router.read()
    assert text == "".join(WORDS)
    assert "continue_final_message" not in router.tiers["large"].calls[1]["body"]


async def test_a_stream_that_cannot_be_continued_ends_with_its_error() -> None:
    router = Router(large=CountingTier(a_death(), breaks_after=3), replicas=2)
    body = {"messages": [{"role": "user", "content": "Hello"}], "logprobs": True}
    with pytest.raises(ReplicaLost):
        await router.read(body=body)
    assert len(router.tiers["large"].calls) == 1


async def test_a_stream_at_its_token_limit_needs_no_other_engine() -> None:
    router = Router(large=CountingTier(a_death(), breaks_after=3), replicas=2)
    text, _ = await router.read(max_tokens=3)
    assert text == "".join(WORDS[:3])
    assert len(router.tiers["large"].calls) == 1


async def test_parts_of_replies_teach_nothing_about_whole_ones() -> None:
    router = Router(large=CountingTier(a_death(), breaks_after=3), replicas=2)
    _, record = await router.read()
    assert record.outcome_of_tier is None
    assert all(state.ledger.num_in_flight == 0 for state in router.states.values())


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_shortened_reply_stays_short_when_it_is_tried_again(is_streamed: bool) -> None:
    # Given a reply that is shortened to be in time, and a tier that fails it
    router = Router(large=CountingTier(a_death(), breaks_after=3), small=CountingTier(a_death()))
    slo = Slo(e2e_ms=1500, on_infeasible=("fit",))
    ask: dict[str, Any] = {"slo": slo, "max_tokens": 2000, "is_length_fixed": True}
    # When it is tried again, whole or from where it broke
    if is_streamed:
        await router.read(**ask)
    else:
        await router.dispatcher.complete(an_ask(**ask))
    # Then each engine is asked for what is in time
    calls = [call for tier in router.tiers.values() for call in tier.calls]
    assert len(calls) > 1
    assert all(int(str(call["body"].get("max_tokens", 2000))) < 200 for call in calls)
