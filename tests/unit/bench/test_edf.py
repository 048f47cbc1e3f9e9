import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.bench import edf
from serve_app.bench.client import Address
from serve_app.bench.edf import Answered, figures, rounds, scheduled, verdicts
from serve_app.bench.load import LoadFailed
from serve_app.bench.overhead.engine import cheapest
from serve_app.commands.serve_file import read_serve_file


def some_figures(urgent_s: float, relaxed_s: float = 10.0) -> dict[str, dict[str, float]]:
    return figures([Answered(True, urgent_s, 9.0), Answered(False, relaxed_s, 9.0)])


def run_with(status: int, sent: list[dict[str, Any]]) -> list[Answered]:
    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(status, headers={"x-router-predicted-e2e-ms": "9000"}, text="why")

    async def run() -> list[Answered]:
        transport = httpx.MockTransport(handle)
        async with httpx.AsyncClient(transport=transport, base_url="http://tandem") as client:
            return await rounds(client, "small", lambda _: None)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def no_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edf, "_HEAD_START_S", 0.01)


def test_one_tier_is_served_with_two_slots_under_the_policy() -> None:
    file = read_serve_file(Path("models.local.yaml"))
    before = json.dumps(file.content)
    content = scheduled(file.content, cheapest(file.tiers), Address("h", 1), "fcfs")
    args = content["applications"][0]["args"]
    (config,) = args["llm_configs"]
    assert config["engine_kwargs"]["max_num_seqs"] == 2
    assert config["engine_kwargs"]["scheduling_policy"] == "fcfs"
    assert config["engine_kwargs"]["enforce_eager"] is True
    assert args["routing"]["keeps_state"] is False
    assert json.dumps(file.content) == before


def test_the_urgent_come_last_and_none_can_be_refused() -> None:
    sent: list[dict[str, Any]] = []
    answered = run_with(200, sent)
    first_round = [body["slo"]["e2e_ms"] for body in sent[2:14]]
    assert first_round == [60_000.0] * 10 + [8000.0] * 2
    assert all(body["slo"]["on_infeasible"] == "degrade" for body in sent)
    assert all(body["model"] == "small" and body["ignore_eos"] for body in sent)
    assert sum(one.is_urgent for one in answered) == 2 * edf.NUM_ROUNDS
    assert {one.predicted_s for one in answered} == {9.0}


def test_a_refused_request_ends_the_measurement() -> None:
    with pytest.raises(LoadFailed, match="answered 429: why"):
        run_with(429, [])


def test_urgent_and_relaxed_are_told_apart() -> None:
    told = some_figures(urgent_s=9.0, relaxed_s=9.0)
    assert (told["urgent"]["in_time"], told["relaxed"]["in_time"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("edf_s", "fcfs_s", "is_met"), [(2.0, 9.0, True), (5.0, 9.0, False), (8.5, 20.0, False)]
)
def test_overtaking_must_halve_the_time_and_keep_the_deadline(
    edf_s: float, fcfs_s: float, is_met: bool
) -> None:
    by_policy = {"priority": some_figures(edf_s, relaxed_s=12.0), "fcfs": some_figures(fcfs_s)}
    judged = verdicts(by_policy)
    assert all(verdict.is_met for verdict in judged) is is_met
    assert judged[3].value == 1.2
