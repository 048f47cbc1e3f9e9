import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from rich.console import Console

from serve_app.bench.client import Address
from serve_app.bench.load import LoadFailed
from serve_app.bench.overload import callers, phases, report
from serve_app.bench.overload.callers import Call, Try, offer
from serve_app.bench.overload.phases import Outcome, Phase
from serve_app.bench.overload.scenario import SLO_S, Planned, fake_tiers, planned
from serve_app.config import AppConfig

MACHINE = {"cpu": "a CPU", "cores": 2, "date": "2026-01-01", "load_average_1m": 0.1}
Handler = Callable[[httpx.Request], httpx.Response]


def a_try(at_s: float = 15.0, took_s: float = 1.0, status: int | None = 200, **more: Any) -> Try:
    return Try(at_s, took_s, status, SLO_S, **more)


def a_phase(*calls: Call, duration_s: float = SLO_S + 10.0) -> Phase:
    return Phase(10.0, duration_s, calls)


def an_outcome(*calls: Call, **changes: Any) -> Outcome:
    """A peak of 0.2 replies per second, and an overload of these calls."""
    defaults: dict[str, Any] = {
        "ladder": (a_phase(*[Call(0.0, a_try())] * 2),),
        "overload": a_phase(*calls),
        "health": (a_try(took_s=0.01),),
        "cpu_share": 0.2,
        "router_state": {},
    }
    return Outcome(**(defaults | changes))


def a_served_return(status: int = 200) -> Call:
    return Call(0.0, a_try(status=429, took_s=0.01, retry_after_s=1.0), a_try(status=status))


def missed(outcome: Outcome) -> set[str]:
    return {verdict.target.name for verdict in report.verdicts(outcome) if not verdict.is_met}


def offered(handler: Handler, *requests: Planned) -> list[Call]:
    async def run() -> list[Call]:
        transport = httpx.MockTransport(handler)
        async with httpx.AsyncClient(transport=transport, base_url="http://tandem") as client:
            return await offer(client, requests)

    return asyncio.run(run())


def refuses_once(retry_after_ms: str, seen: list[httpx.Request]) -> Handler:
    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if "x-stainless-retry-count" in request.headers:
            return httpx.Response(200, headers={"x-router-slo-probability": "0.970"})
        return httpx.Response(429, headers={"retry-after-ms": retry_after_ms})

    return handle


def test_arrivals_are_the_same_for_the_same_seed_and_come_at_the_rate() -> None:
    requests = planned(20.0, 100.0, seed=1)
    assert requests == planned(20.0, 100.0, seed=1) != planned(20.0, 100.0, seed=2)
    assert 1800 < len(requests) < 2200
    assert sorted(r.at_s for r in requests) == [r.at_s for r in requests]


def test_only_the_engine_is_told_how_long_a_reply_gets() -> None:
    body = Planned(0.0, 10, 77, slo_s=4.0).body
    assert body.pop("fake") == {"output_tokens": 77}
    assert "77" not in json.dumps(body)
    assert body["slo"] == {"e2e_ms": 4000.0, "on_infeasible": "reject"}


def test_the_served_file_is_valid() -> None:
    content = fake_tiers(Address("h", 1), "/tmp/decisions")
    config = AppConfig.model_validate(content["applications"][0]["args"])
    assert [tier.model_id for tier in config.llm_configs] == ["small", "large"]
    assert not config.routing.keeps_state


def test_a_refused_caller_comes_back_when_told_and_says_so() -> None:
    seen: list[httpx.Request] = []
    (call,) = offered(refuses_once("20", seen), Planned(0.0, 5, 5))
    assert call.first.retry_after_s == 0.02
    assert call.second is not None and call.second.at_s >= call.first.at_s + 0.02
    assert seen[1].headers["x-stainless-retry-count"] == "1"
    assert (call.is_served_on_return, call.second.stated) == (True, 0.97)


def test_who_is_told_to_wait_for_ever_gives_up() -> None:
    (call,) = offered(refuses_once("9000000", []), Planned(0.0, 5, 5))
    assert call.second is None and not call.is_served_on_return


def test_nobody_waits_for_another_and_all_are_heard() -> None:
    calls = offered(lambda _: httpx.Response(422), *planned(500.0, 0.1, seed=1))
    assert [call.first.status for call in calls] == [422] * len(planned(500.0, 0.1, seed=1))


def test_a_lost_connection_is_a_failure_as_a_5xx_is() -> None:
    def breaks(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("gone", request=request)

    for handler in (breaks, lambda _: httpx.Response(503)):
        (call,) = offered(handler, Planned(0.0, 5, 5))
        assert call.first.is_failure
        assert "5xx or no answer" in missed(an_outcome(call))


def test_goodput_counts_replies_in_time_by_when_they_ended() -> None:
    # Given 10 s after the first reply could have used up its time
    counted, early, late = a_try(), a_try(at_s=1.0), a_try(took_s=SLO_S + 1)
    after = a_try(at_s=SLO_S + 9.5)
    phase = a_phase(*[Call(0.0, one) for one in (counted, early, late, after)])
    assert phase.goodput_per_s == 0.1


def test_targets_are_met_when_goodput_promises_and_answers_hold() -> None:
    assert missed(an_outcome(a_served_return(), Call(0.0, a_try()))) == set()


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        (an_outcome(a_served_return()), "goodput at 3x, share of the peak"),
        (an_outcome(Call(0.0, a_try(took_s=SLO_S + 1))), "admitted requests in time"),
        (an_outcome(a_served_return(429)), "refused callers served when they came back as told"),
        (
            an_outcome(a_served_return(), health=(a_try(took_s=2.0),)),
            "slowest answer of /livez and /readyz",
        ),
        (an_outcome(Call(0.2, a_try())), "load tool's own lateness, p99"),
    ],
)
def test_a_missed_target_is_named(outcome: Outcome, name: str) -> None:
    assert name in missed(outcome)


def test_the_report_is_json_and_tells_the_onset_apart() -> None:
    outcome = an_outcome(Call(0.0, a_try(at_s=2.0, stated=0.97)), a_served_return())
    judged = report.verdicts(outcome)
    document = report.as_document(outcome, judged, MACHINE, {"ray": "2"})
    json.dumps(document, allow_nan=False)
    assert [one["admitted"] for one in document["slices"]] == [1, 0, 0, 1]
    text = io.StringIO()
    report.show(judged, document, Console(file=text, width=120))
    assert "stated a probability of 0.970" in text.getvalue()


def test_each_rate_of_the_ladder_is_offered_and_then_three_times_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phases, "_STEP_S", 0.3)
    monkeypatch.setattr(phases, "_OVERLOAD_S", 0.3)
    monkeypatch.setattr(phases, "SLO_S", 0.01)
    outcome = asyncio.run(run_phases(lambda _: httpx.Response(200, json={"tiers": {}})))
    assert len(outcome.ladder) == phases.NUM_STEPS - 1
    assert outcome.overload.rate_per_s == 3 * outcome.peak.goodput_per_s
    assert outcome.health and outcome.router_state == {"tiers": {}}


def test_no_reply_in_time_is_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "_STEP_S", 0.1)
    with pytest.raises(LoadFailed, match="no reply was in time"):
        asyncio.run(run_phases(lambda _: httpx.Response(422)))


async def run_phases(handler: Handler) -> Outcome:
    async with callers.client_of(Address("tandem", 1)) as real:
        transport = httpx.MockTransport(handler)
        async with httpx.AsyncClient(transport=transport, base_url=real.base_url) as client:
            return await phases.run(client, lambda _: None)
