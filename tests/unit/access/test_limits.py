"""Limits that several routers share: never more than the limit, nearly all of it, few calls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.access.kept_spend import take_up
from serve_app.access.keys.key import Key
from serve_app.access.limits.limiter import Limiter
from serve_app.access.limits.permit import Permit
from serve_app.access.limits.window import SlidingWindow
from serve_app.access.spend import MonthlySpend, until_next_month_s
from serve_app.errors import InvalidRequest, QuotaExceeded, RateLimited
from serve_app.storage.types import StorageFailed
from tests.unit.access.builders import SharedCounters, a_key


class Place:
    """Holds what was kept, and may not answer."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data
        self.is_away = False

    def load(self) -> bytes | None:
        if self.is_away:
            raise StorageFailed("s3://b/spend.json", "read", "no answer", "Try again.")
        return self._data

    def save(self, data: bytes) -> None:
        raise NotImplementedError

    def change(self, changed: Callable[[bytes | None], bytes]) -> None:
        raise NotImplementedError


@asynccontextmanager
async def running(*routers: Limiter) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(router.run()) for router in routers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def admitted(router: Limiter, key: Key, tokens: int = 1) -> Permit | None:
    try:
        return await router.admit(key, tokens)
    except RateLimited:
        return None


async def num_admitted(routers: list[Limiter], key: Key, number: int, tokens: int = 1) -> int:
    tries = (admitted(routers[i % len(routers)], key, tokens) for i in range(number))
    return sum(permit is not None for permit in await asyncio.gather(*tries))


@contextmanager
def refused(kind: str) -> Iterator[pytest.ExceptionInfo[RateLimited]]:
    with pytest.raises(RateLimited) as error:
        yield error
    assert (error.value.status, error.value.type) == (429, kind)


@pytest.mark.parametrize("limit", [1, 3, 20, 300, 6000])
async def test_three_routers_admit_the_limit_of_a_burst_and_no_more(limit: int) -> None:
    counters = SharedCounters()
    routers = [counters.router(name) for name in "abc"]
    key, _ = a_key(requests_per_minute=limit)
    async with running(*routers):
        total = await num_admitted(routers, key, 2 * limit + 30)
    assert 0.95 * limit <= total <= limit


async def test_a_minute_later_the_limit_is_there_again() -> None:
    counters = SharedCounters()
    routers = [counters.router(name) for name in "abc"]
    key, _ = a_key(requests_per_minute=30)
    async with running(*routers):
        await num_admitted(routers, key, 60)
        counters.now += 59.0
        assert await num_admitted(routers, key, 60) == 0
        counters.now += 3.0
        assert await num_admitted(routers, key, 60) == 30


async def test_one_router_gets_what_another_holds_idle() -> None:
    # Given a limit of 100, and a router that has fetched a part ahead of need
    counters = SharedCounters()
    first, second = counters.router("a"), counters.router("b")
    key, _ = a_key(requests_per_minute=100)
    async with running(first, second):
        assert await num_admitted([first], key, 1) == 1
        # When everything else goes to another one
        assert await num_admitted([second], key, 150) == 99


async def test_most_requests_make_no_call() -> None:
    counters = SharedCounters()
    router = counters.router("a")
    key, _ = a_key(requests_per_minute=60_000, tokens_per_minute=10_000_000)
    async with running(router):
        for _ in range(2000):
            (await router.admit(key, 100)).settle(90)
            await asyncio.sleep(0)
    assert counters.num_calls < 100


async def test_a_key_without_limits_makes_no_call_for_a_request() -> None:
    counters = SharedCounters()
    router = counters.router("a")
    key, _ = a_key()
    for _ in range(100):
        (await router.admit(key, 100)).settle(100)
    assert counters.num_calls == 0


async def test_tokens_are_charged_by_what_was_used() -> None:
    counters = SharedCounters()
    router = counters.router("a")
    key, _ = a_key(tokens_per_minute=1000)
    async with running(router):
        (await router.admit(key, 900)).settle(100)
        permit = await router.admit(key, 900)
        permit.settle(900)
        with refused("tokens") as refusal:
            await router.admit(key, 900)
    assert 50.0 < refusal.value.retry_after_s <= 61.0
    assert refusal.value.headers["x-ratelimit-limit-tokens"] == "1000"


async def test_a_request_larger_than_a_minute_is_told_to_shrink() -> None:
    key, _ = a_key(tokens_per_minute=1000)
    with pytest.raises(InvalidRequest, match="1001 tokens"):
        await SharedCounters().router("a").admit(key, 1001)


async def test_places_are_shared_and_come_back_when_requests_end() -> None:
    counters = SharedCounters()
    routers = [counters.router(name) for name in "abc"]
    key, _ = a_key(concurrent_requests=5)
    async with running(*routers):
        permits = [await admitted(routers[i % 3], key) for i in range(9)]
        held = [permit for permit in permits if permit is not None]
        assert len(held) == 5
        with refused("requests"):
            await routers[0].admit(key, 1)
        for permit in held:
            permit.settle(1)
        # Told to the others within a twentieth of a second
        await asyncio.sleep(0.2)
        counters.now += 0.2
        assert await num_admitted([routers[2]], key, 9) == 5


async def test_a_router_that_dies_frees_its_places() -> None:
    counters = SharedCounters()
    dead, alive = counters.router("dead"), counters.router("alive")
    key, _ = a_key(concurrent_requests=2)
    async with running(dead):
        assert await num_admitted([dead], key, 3) == 2
    counters.now += 11.0
    async with running(alive):
        assert await num_admitted([alive], key, 3) == 2


async def test_a_spent_budget_is_openais_insufficient_quota() -> None:
    counters = SharedCounters()
    first, second = counters.router("a"), counters.router("b")
    key, _ = a_key(usd_per_month=1.0, requests_per_minute=100)
    async with running(first, second):
        (await first.admit(key, 1)).settle(1, usd=1.5)
        await num_admitted([first, second, first], key, 3)
        for router in (first, second):
            with pytest.raises(QuotaExceeded, match=r"1\.50 of 1\.00 USD") as refusal:
                for _ in range(20):
                    await router.admit(key, 1)
                    await asyncio.sleep(0.05)
            assert refusal.value.type == "insufficient_quota"


async def test_without_the_counters_each_router_holds_the_limit_alone() -> None:
    counters = SharedCounters()
    counters.is_down = True
    routers = [counters.router(name) for name in "ab"]
    key, _ = a_key(requests_per_minute=10)
    async with running(*routers):
        assert await num_admitted([routers[0]], key, 30) == 10
        assert await num_admitted([routers[1]], key, 30) == 10


async def test_what_is_spent_while_the_counters_are_away_is_not_forgotten() -> None:
    counters = SharedCounters()
    router = counters.router("a")
    key, _ = a_key(usd_per_month=1.0)
    (await router.admit(key, 1)).settle(1, usd=0.75)
    await router._round()
    counters.is_down = True
    (await router.admit(key, 1)).settle(1, usd=0.5)
    await router._round()
    with pytest.raises(QuotaExceeded):
        await router.admit(key, 1)
    # And it is told when they are back
    counters.is_down = False
    await router._round()
    assert counters.books.spend.spent(key.id, counters.today) == 1.25


async def test_headers_name_limit_and_rest() -> None:
    counters = SharedCounters()
    router = counters.router("a")
    key, _ = a_key(requests_per_minute=10, tokens_per_minute=1000)
    async with running(router):
        headers = (await router.admit(key, 400)).headers()
    assert headers["x-ratelimit-limit-requests"] == "10"
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-remaining-tokens"] == "600"


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 50)), max_size=60))
def test_a_window_never_forgets_early(steps: list[tuple[float, int]]) -> None:
    """What was added in the last 60 seconds is always counted, and nothing older than 61."""
    window, now, added = SlidingWindow(), 500.0, []
    for pause_s, amount in steps:
        now += pause_s
        window.add(amount, now=now)
        added.append((now, amount))
        used = window.used(now)
        assert used >= sum(amount for at_s, amount in added if now - at_s < 60.0)
        assert used <= sum(amount for at_s, amount in added if now - at_s <= 61.0)
        waited = now + window.clears_in_s(used // 2, now=now) + 1e-6
        assert sum(a for at_s, a in added if waited - at_s < 60.0) <= used // 2 or waited == now


def test_a_month_begins_at_nothing() -> None:
    spend = MonthlySpend()
    spend.add("k", 3.0, date(2026, 11, 30))
    kept = spend.dump()
    assert spend.spent("k", date(2026, 12, 1)) == 0.0
    spend.restore(kept, date(2026, 12, 1))
    assert spend.spent("k", date(2026, 12, 1)) == 0.0
    assert until_next_month_s(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == 60.0
    with pytest.raises(ValueError):
        spend.restore(b"[]", date(2026, 12, 1))


async def test_spending_that_cannot_be_read_at_first_is_added_when_it_can() -> None:
    # Given what was kept of this month, at a place that does not answer
    kept, spend, today = MonthlySpend(), MonthlySpend(), datetime.now(UTC).date()
    kept.add("k", 3.0, today)
    place = Place(kept.dump())
    place.is_away = True
    # When something is spent meanwhile
    assert not await take_up(spend, place)
    spend.add("k", 0.5, today)
    # Then nothing of either is lost
    place.is_away = False
    assert await take_up(spend, place)
    assert spend.spent("k", today) == 3.5


async def test_a_damaged_record_of_spending_is_given_up() -> None:
    spend = MonthlySpend()
    assert await take_up(spend, Place(b"[]"))
    assert await take_up(spend, Place(None))


async def test_what_was_told_in_vain_is_charged_once() -> None:
    # Given counters that take a report, and whose answer is lost
    counters = SharedCounters()
    router = counters.router("a")
    key, _ = a_key(usd_per_month=100.0)
    (await router.admit(key, 1)).settle(1, usd=5.0)
    counters.is_mute = True
    await router._round()
    # When more is spent, and they answer again
    (await router.admit(key, 1)).settle(1, usd=2.0)
    await router._round()
    counters.is_mute = False
    await router._round()
    await router._round()
    # Then nothing is charged twice, and nothing is lost
    assert counters.books.usage(counters.now)[key.id]["usd_this_month"] == 7.0


async def test_no_spending_is_too_small_to_be_shown() -> None:
    # Given a reply that took a tenth of a millisecond of a replica for 1 USD per hour
    counters = SharedCounters()
    router = counters.router("a")
    key, _ = a_key(usd_per_month=100.0)
    (await router.admit(key, 1)).settle(1, usd=2.8e-8)
    await router._round()
    assert counters.books.usage(counters.now)[key.id]["usd_this_month"] == 2.8e-8


async def test_a_spent_budget_is_there_again_in_the_next_month() -> None:
    # Given a key that has spent its month, and is not heard of for a while
    counters = SharedCounters()
    router = counters.router("a")
    key, _ = a_key(usd_per_month=1.0)
    async with running(router):
        (await router.admit(key, 1)).settle(1, usd=1.5)
        with pytest.raises(QuotaExceeded):
            await router.admit(key, 1)
        counters.now += 10.0
        await asyncio.sleep(1.1)
        with pytest.raises(QuotaExceeded):
            await router.admit(key, 1)
        # When another month begins
        counters.today = date(2026, 12, 1)
        await asyncio.sleep(1.1)
        # Then it may spend again
        assert await admitted(router, key)
