"""What the chaos bench calls right, lost, cut and broken. HTTP answers in, verdicts out."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count, repeat
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
import yaml

from serve_app.bench.chaos import real_tier, report, scenario
from serve_app.bench.chaos.callers import Answer, Callers, answered
from serve_app.bench.chaos.faults import Faults, Kind, Victim, command_with_port
from serve_app.bench.chaos.rounds import Round, rounds
from serve_app.bench.client import Address
from serve_app.bench.load import LoadFailed
from serve_app.config import AppConfig

REPOSITORY = Path(__file__).parents[3]


def an_answer(**changes: Any) -> Answer:
    defaults: dict[str, Any] = {
        "sent_at_s": 0.0, "ended_at_s": 1.0, "is_streamed": False, "verdict": "right",
        "num_engines": 1,
    }  # fmt: skip
    return Answer(**(defaults | changes))


def a_round(kind: Kind, *answers: Answer, recovered_after_s: float | None = 1.0) -> Round:
    return Round(Victim(kind, 1, "x"), recovered_after_s, answers)


def missed(*rounds: Round) -> list[str]:
    return [v.target.name for v in report.verdicts(rounds, len(rounds)) if not v.is_met]


def events(*texts: str, end: str = "data: [DONE]\n\n") -> str:
    chunks = [{"choices": [{"delta": {"content": text}}], "system_fingerprint": "a"}
              for text in texts]  # fmt: skip
    return "".join(f"data: {orjson.dumps(chunk).decode()}\n\n" for chunk in chunks) + end


async def verdict_on(
    answer: Callable[[httpx.Request], httpx.Response], *, is_streamed: bool = True
) -> Answer:
    body = {"stream": is_streamed}
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await answered(client, scenario.Asked(body, "word1 word2"))


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (events("word1", " word2"), "right"),
        (events("word1", " word1", " word2"), "wrong"),
        (events("word1"), "wrong"),
        (events("word1", " word2", end=""), "wrong"),
        (events("word1", end='data: {"error": {"code": "x"}}\n\ndata: [DONE]\n\n'), "error"),
        (events("word1", end='data: {"error": {"code": "x"}}\n\n'), "wrong"),
    ],
)
async def test_a_stream_is_judged_word_for_word_and_by_its_end(said: str, verdict: str) -> None:
    answer = await verdict_on(lambda _: httpx.Response(200, text=said))
    assert answer.verdict == verdict


async def test_a_caller_connects_again_but_does_not_ask_again() -> None:
    refusals = [httpx.ConnectError("refused")]

    def once_unreachable(_: httpx.Request) -> httpx.Response:
        if refusals:
            raise refusals.pop()
        return httpx.Response(503, text="no")

    answer = await verdict_on(once_unreachable, is_streamed=False)
    assert (answer.verdict, answer.num_connections) == ("error", 2)


def test_an_unstreamed_request_that_is_not_answered_right_is_lost() -> None:
    assert missed(a_round("replica", an_answer())) == []
    assert missed(a_round("replica", an_answer(verdict="error"))) == ["unstreamed requests lost"]


def test_a_stream_may_end_with_an_error_event_but_not_with_other_text() -> None:
    assert missed(a_round("replica", an_answer(is_streamed=True, verdict="error"))) == []
    assert len(missed(a_round("replica", an_answer(is_streamed=True, verdict="wrong")))) == 1


def test_only_who_holds_the_connection_may_cut_a_stream() -> None:
    cut = an_answer(is_streamed=True, verdict="cut")
    assert missed(a_round("haproxy", cut), a_round("router", cut)) == []
    assert len(missed(a_round("replica", cut))) == 1


def test_a_service_that_does_not_come_back_is_a_miss() -> None:
    assert len(missed(a_round("replica", recovered_after_s=None))) == 1


def test_every_version_of_the_file_is_a_valid_one() -> None:
    content = scenario.fake_tiers(Address("127.0.0.1", 1), has_nodes=True)
    versions = scenario.updates(content)
    for _ in range(6):
        _, version = next(versions)
        AppConfig.model_validate(version["applications"][0]["args"])


def test_no_two_requests_are_alike_and_half_are_streamed() -> None:
    draw = random.Random(1)
    asked = [scenario.asked(number, draw) for number in range(100)]
    assert len({str(one.body["messages"]) for one in asked}) == 100
    assert sum(one.is_streamed for one in asked) == 50


def a_serve_file() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / "models.local.yaml").read_text())
    return content


def test_of_a_serve_file_the_first_tier_runs_twice_and_each_update_of_it_is_valid() -> None:
    content = real_tier.two_replicas(a_serve_file(), "/decisions", has_nodes=True)
    versions = scenario.updates(content)
    for version in (content, *(next(versions)[1] for _ in range(3))):
        config = AppConfig.model_validate(version["applications"][0]["args"])
        (tier,) = config.llm_configs
        assert tier.model_id == "smollm2-135m" and tier.engine_kwargs["dtype"] == "float32"
    assert scenario.num_replicas(content) == 2


def a_model(texts: Iterator[str]) -> httpx.AsyncClient:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"choices": [{"message": {"content": next(texts)}}]})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://x")


async def test_each_question_has_to_be_answered_as_when_nothing_was_broken() -> None:
    async with a_model(repeat("a story")) as client:
        ask = await real_tier.questions(client)
    asked = [ask(number, random.Random(1)) for number in range(32)]
    assert {one.expected for one in asked} == {"a story"}
    assert len({str(one.body) for one in asked}) == 32
    streamed = {one.body["messages"][0]["content"] for one in asked if one.is_streamed}
    unstreamed = {one.body["messages"][0]["content"] for one in asked if not one.is_streamed}
    assert streamed == unstreamed


async def test_a_model_whose_text_depends_on_its_batch_is_no_measure() -> None:
    async with a_model(map(str, count())) as client:
        with pytest.raises(LoadFailed, match="in a batch"):
            await real_tier.questions(client)


def test_a_real_stream_was_continued_when_the_log_knows_of_more_tries() -> None:
    stream = an_answer(is_streamed=True, decision_id="a", first_tries=2)
    unknown = an_answer(is_streamed=True, decision_id="b")
    entries = [{"decision_id": "a", "attempts": 3}]
    (told,) = real_tier.with_tries([a_round("engine", stream, unknown)], entries)
    assert [answer.num_engines for answer in told.answers] == [2, 1]


def test_what_is_started_again_listens_where_it_was_found() -> None:
    # Given a server that chose its port
    listen = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", listen, "--gcs_server_port=0"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    port = int(child.stdout.readline())
    # Then the command that starts it again names that port
    assert command_with_port(psutil.Process(child.pid))[-1] == f"--gcs_server_port={port}"
    child.communicate()


async def test_an_interrupted_run_reports_the_rounds_that_ended() -> None:
    # Given a run that is interrupted before its first round
    faults = Faults(list, random.Random(1), None)
    nowhere, said = "http://127.0.0.1:9", list[str]()
    callers = Callers(nowhere, 1.0, scenario.asked)
    run = asyncio.create_task(rounds(["router"], faults, callers, nowhere, said.append))
    await asyncio.sleep(0)
    run.cancel()
    # Then it ends by itself, and says how far it came
    assert await run == []
    assert said == ["interrupted after 0 of 1 rounds"]


def test_a_run_that_lost_nothing_but_was_interrupted_is_not_met() -> None:
    judged = report.verdicts([a_round("router", an_answer())], 2)
    assert [v.target.name for v in judged if not v.is_met] == ["rounds that did not take place"]
