"""The door: who is let in, and what a visit takes from its key."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from serve_app.access.keys.ring import KeyRing
from serve_app.api.door.guard import Guard, key_of
from serve_app.api.door.visits import Visits
from serve_app.errors import (
    DeadlineExceeded,
    EngineRejected,
    NotBegun,
    Saturated,
    SloInfeasible,
    TierFailed,
)
from serve_app.routing.policy import choose
from serve_app.telemetry.records import RequestRecord
from tests.unit.access.builders import SharedCounters, a_key
from tests.unit.builders import a_request, a_view, an_ask


async def tell_key(request: Request) -> PlainTextResponse:
    key = key_of(request)
    return PlainTextResponse(key.name if key else "nobody")


INSIDE = Starlette(routes=[Route("/{path:path}", tell_key, methods=["GET", "POST"])])


def a_guard(*keys: Any, **changes: Any) -> Guard:
    ring = KeyRing(keys)
    defaults: dict[str, Any] = {
        "ring": lambda: ring, "neighbours": None, "max_header_bytes": 1000,
    }  # fmt: skip
    return Guard(INSIDE, **(defaults | changes))


async def get(
    guard: Guard, path: str, token: str | None = None, peer: str = "127.0.0.1", **headers: str
) -> httpx.Response:
    transport = httpx.ASGITransport(guard, client=(peer, 1234))
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.get(path, headers=headers)


async def test_a_valid_key_is_known_inside() -> None:
    key, token = a_key(name="bot")
    assert (await get(a_guard(key), "/v1/models", token)).text == "bot"


@pytest.mark.parametrize("path", ["/v1/models", "/", "/anything", "/v1/router/state", "/docs/x"])
async def test_nothing_but_health_and_documents_is_open(path: str) -> None:
    response = await get(a_guard(), path)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    # What the body still holds is not read
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/v1/router/state", "/metrics", "/ui", "/ui/index.html"])
async def test_an_admins_paths_need_an_admins_key(path: str) -> None:
    (plain, plain_token), (admin, admin_token) = a_key(), a_key(admin=True, name="admin")
    guard = a_guard(plain, admin)
    assert (await get(guard, path, plain_token)).status_code == 403
    assert (await get(guard, path, admin_token)).text == "admin"


async def test_an_admins_paths_are_known_below_a_route_prefix() -> None:
    key, token = a_key()
    guard = a_guard(key)
    seen: list[int] = []

    async def send(message: Any) -> None:
        seen.append(message.get("status", 0))

    scope = {
        "type": "http", "method": "GET", "root_path": "/tandem", "query_string": b"",
        "path": "/tandem/v1/router/state",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }  # fmt: skip
    await guard(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert seen[0] == 403


async def test_without_keys_only_this_clusters_machines_are_answered() -> None:
    guard = a_guard(ring=None, neighbours={"10.0.0.7"})
    assert (await get(guard, "/v1/models")).text == "nobody"
    assert (await get(guard, "/v1/models", peer="10.0.0.7")).status_code == 200
    assert (await get(guard, "/v1/models", peer="10.0.0.8")).status_code == 403


async def test_a_header_without_end_is_refused() -> None:
    response = await get(a_guard(), "/livez", **{"x-a": "b" * 2000})
    assert response.status_code == 400
    assert "'x-a' has 2000 bytes" in response.json()["error"]["message"]


async def test_websockets_are_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await a_guard()({"type": "websocket"}, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert sent == ["websocket.close"]


class Served:
    """Visits of one key with 1000 tokens a minute, and what is left of them."""

    def __init__(self) -> None:
        self.counters = SharedCounters()
        self.limiter = self.counters.router("a")
        self.visits = Visits(self.limiter, {"small": 3600.0}, 50)
        self.key, _ = a_key(tokens_per_minute=1000)

    async def used(self, what: str = "tokens_last_minute") -> float:
        """By the shared counters, once they were told."""
        await self.limiter._round()
        return self.counters.books.usage(self.counters.now)[self.key.id][what]


@pytest.fixture
async def served() -> Any:
    served = Served()
    task = asyncio.create_task(served.limiter.run())
    yield served
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_finished_reply_is_charged_what_it_used(served: Served) -> None:
    visit = await served.visits.open(served.key, an_ask(max_tokens=500))
    record = RequestRecord(visit.ask)
    record.usage = {"prompt_tokens": 10, "completion_tokens": 30}
    visit.close(record)
    assert await served.used() == 40


@pytest.mark.parametrize(
    "refusal",
    [Saturated("x", retry_after_s=1.0),
     SloInfeasible("x", smallest_e2e_ms=1, largest_output_tokens=1),
     EngineRejected("no such adapter", status=404), TierFailed("x"), NotBegun("x")],
)  # fmt: skip
async def test_who_gets_no_answer_is_charged_nothing(served: Served, refusal: Exception) -> None:
    visit = await served.visits.open(served.key, an_ask(max_tokens=500))
    with pytest.raises(type(refusal)), visit.closing_on_error():
        raise refusal
    assert await served.used() == 0


@pytest.mark.parametrize("end", [asyncio.CancelledError(), DeadlineExceeded("x")])
async def test_leaving_early_is_no_way_to_use_it_for_nothing(
    served: Served, end: BaseException
) -> None:
    visit = await served.visits.open(served.key, an_ask(max_tokens=500))
    with pytest.raises(type(end)), visit.closing_on_error():
        raise end
    assert await served.used() >= 500


@pytest.mark.parametrize(("sent_at_s", "is_charged"), [(1.0, True), (None, False)])
async def test_what_an_engine_did_for_a_caller_who_left_costs_its_time(
    served: Served, sent_at_s: float | None, is_charged: bool
) -> None:
    # Given an unstreamed request that was decided, and sent to its tier or not
    visit = await served.visits.open(served.key, an_ask(max_tokens=500))
    record = RequestRecord(visit.ask, dispatched_at_s=sent_at_s)
    decision = choose(a_request(), [a_view("small")], objective="best_quality_within_slo")
    record.candidate = decision.selected
    # When its own deadline ends it
    with pytest.raises(DeadlineExceeded), visit.closing_on_error():
        visit.begun(record)
        raise DeadlineExceeded("x")
    # Then its month's budget knows of it if an engine did
    assert (await served.used("usd_this_month") > 0.0) == is_charged


async def test_two_requests_of_one_id_get_two() -> None:
    visits = Visits(None, {}, 50)
    first, second = [await visits.open(None, an_ask("order-7")) for _ in range(2)]
    assert (first.ask.request_id, second.ask.request_id) == ("order-7", "order-7.2")
    first.close(None)
    assert (await visits.open(None, an_ask("order-7"))).ask.request_id == "order-7"


async def test_a_stream_that_is_left_is_charged_what_it_said(served: Served) -> None:
    # Given a stream whose caller said nothing of its length, and that said more than usual
    visit = await served.visits.open(served.key, an_ask(max_tokens=None, is_streamed=True))
    record = RequestRecord(visit.ask)
    record.num_events = 700
    # When its caller leaves before the engine's last word
    visit.close(record)
    # Then it was no way to get them for the price of a usual reply
    assert 700 <= await served.used() < 800
