import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from rich.console import Console

from serve_app.bench.calibration import live
from serve_app.bench.calibration.live import Answered, as_answered, at_address, planned
from serve_app.bench.calibration.live_report import as_document, series, show
from serve_app.bench.client import Address
from serve_app.bench.load import LoadFailed

MACHINE = {"cpu": "a CPU", "cores": 2, "date": "2026-01-01"}


def an_answer(e2e_s: float = 1.0, **changes: Any) -> Answered:
    defaults: dict[str, Any] = {
        "tier": "small", "concurrency": 1, "caller_s": e2e_s, "predicted_s": 1.0, "p50_s": 1.0,
        "p95_s": 1.2,
    }  # fmt: skip
    return Answered(e2e_s=e2e_s, **(defaults | changes))


def a_document(answered: list[Answered]) -> dict[str, Any]:
    return as_document(answered, machine=MACHINE, versions={})


def a_server(status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    """Answers chats with a decision id that names the tier, and decisions by that id."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/chat/completions":
            tier = json.loads(request.content)["model"]
            return httpx.Response(status, headers={"x-router-decision-id": tier}, text="refused")
        tier = request.url.path.rsplit("/", 1)[1]
        forecast = {"tier": tier, "predicted_e2e_ms": 1.0, "p50_e2e_ms": 1.0, "p95_e2e_ms": 9e9}
        outcome = {"e2e_ms": 1.0}
        return httpx.Response(200, json={"candidates": [forecast], "outcome": outcome})

    return handle


def test_requests_alternate_between_tiers_and_have_exact_lengths() -> None:
    requests = planned(["a", "b"], 100, seed=1)
    assert [request.tier for request in requests[:4]] == ["a", "b", "a", "b"]
    assert all(30 <= r.prompt_tokens <= 1500 and 8 <= r.output_tokens <= 200 for r in requests)
    body = requests[0].body
    assert body["max_tokens"] == body["min_tokens"] == requests[0].output_tokens
    assert body["ignore_eos"] is True
    assert len({request.body["messages"][0]["content"] for request in requests}) == 100


def test_the_serve_file_is_moved_and_not_changed() -> None:
    content = {"http_options": {"port": 8000}, "applications": [{"name": "tandem"}]}
    assert at_address(content, Address("h", 1))["http_options"] == {"host": "h", "port": 1}
    assert content["http_options"] == {"port": 8000}


def test_the_forecast_is_the_one_for_the_tier_that_answered() -> None:
    other = {"tier": "b", "predicted_e2e_ms": 9.0, "p50_e2e_ms": 9.0, "p95_e2e_ms": 9.0}
    own = {"tier": "a", "predicted_e2e_ms": 100.0, "p50_e2e_ms": 110.0, "p95_e2e_ms": 200.0}
    outcome = {"e2e_ms": 150.0}
    answered = as_answered("a", 3, 0.25, {"candidates": [other, own], "outcome": outcome})
    assert (answered.predicted_s, answered.p50_s, answered.p95_s) == (0.1, 0.11, 0.2)


def test_what_is_lost_outside_tandem_is_told_apart() -> None:
    # Given a reply within its bound, which reached its caller later than that
    answered = an_answer(1.1, caller_s=1.5, p95_s=1.2)

    # Then the forecast was right, and the caller saw less than it
    assert answered.is_covered
    assert not answered.is_covered_for_caller
    document = a_document([answered])
    assert (document["coverage"], document["coverage_for_callers"]) == (1.0, 0.0)
    assert document["outside_p95_s"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"candidates": [], "outcome": {"e2e_ms": 1.0}}, "says nothing of that tier"),
        ({"candidates": []}, "does not say how it ended"),
    ],
)
def test_a_decision_that_says_too_little_is_an_error(
    document: dict[str, Any], problem: str
) -> None:
    with pytest.raises(LoadFailed, match=problem):
        as_answered("a", 1, 1.0, document)


@pytest.mark.parametrize(
    ("changes", "is_met"),
    [({}, True), ({"predicted_s": 1.2}, False), ({"p95_s": 0.9}, False)],
)
def test_error_and_coverage_over_all_replies_decide(changes: dict[str, Any], is_met: bool) -> None:
    late = [an_answer(e2e_s=1.3, predicted_s=1.3)] * 5
    assert a_document([an_answer(**changes)] * 95 + late)["is_met"] is is_met


def test_figures_are_told_by_load_and_by_tier() -> None:
    answered = [an_answer(), an_answer(tier="large", concurrency=6, predicted_s=2.0)]
    document = a_document(answered)
    assert document["by_concurrency"]["6"]["median_abs_rel_error"] == 1.0
    assert document["by_tier"]["small"]["median_abs_rel_error"] == 0.0
    text = io.StringIO()
    show(answered, document, Console(file=text, width=120))
    assert "6 at once" in text.getvalue() and "large" in text.getvalue()


def test_a_plot_marks_where_the_load_changes() -> None:
    answered = [an_answer(concurrency=load) for load in (1, 1, 3, 6)]
    assert series(answered)[0].marks == {0: "1 at once", 2: "3 at once", 3: "6 at once"}


def test_each_load_is_warmed_up_and_then_scored() -> None:
    said: list[str] = []
    answered = asyncio.run(run_with(a_server(), 31, said.append))
    counts = [sum(a.concurrency == load for a in answered) for load in live.CONCURRENCIES]
    assert counts == [11, 10, 10]
    assert len(said) == 2 * len(live.CONCURRENCIES)
    assert {one.tier for one in answered} == {"a", "b"}


def test_each_load_has_its_turn_in_every_round() -> None:
    turns = live.turns(62, num_rounds=2)
    assert [turn.concurrency for turn in turns] == [1, 3, 6, 1, 3, 6]
    assert [turn.num_scored for turn in turns] == [11, 11, 10, 10, 10, 10]
    assert {turn.num_warm_up for turn in turns} == {live.NUM_WARM_UP // 2}


def test_a_refused_request_ends_the_measurement() -> None:
    with pytest.raises(LoadFailed, match="answered 429: refused"):
        asyncio.run(run_with(a_server(status=429), 31, lambda _: None))


async def run_with(
    server: Callable[[httpx.Request], httpx.Response], count: int, say: live.Say
) -> list[Answered]:
    transport = httpx.MockTransport(server)
    async with httpx.AsyncClient(transport=transport, base_url="http://tandem") as client:
        return await live.answers(client, ["a", "b"], live.turns(count, 1), say)
