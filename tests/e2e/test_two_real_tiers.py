"""Both embedded models on the real vLLM engine, through the real OpenAI client and HAProxy."""

import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from serve_app.commands.local.instance import Instance
from tests.cancelling import is_idle_within, rounds_not_stopped
from tests.serving import files_written, vllm_processes

SMALL, LARGE = "smollm2-135m", "smollm2-135m-awq"
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.mark.parametrize("tier", [SMALL, LARGE])
def test_the_capital_of_france_is_paris(client: openai.OpenAI, tier: str) -> None:
    reply = client.chat.completions.create(
        model=tier, messages=QUESTION, max_tokens=16, temperature=0
    )
    assert reply.model == tier
    assert "Paris" in (reply.choices[0].message.content or "")


def test_each_tier_runs_its_model_in_its_engines_own_process(instance: Instance) -> None:
    assert vllm_processes(instance) == ["VLLM::EngineCore"] * 2


def test_a_stream_says_the_same_and_counts_its_tokens(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=SMALL, messages=QUESTION, max_tokens=16, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    assert "Paris" in "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 1


def test_completions_continue_a_text(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model=SMALL, prompt="The capital of France is", max_tokens=3, temperature=0
    )
    assert "Paris" in reply.choices[0].text


def test_structured_output_is_what_the_schema_says(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    reply = client.chat.completions.create(
        model=SMALL, messages=QUESTION, max_tokens=32, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )  # fmt: skip
    assert json.loads(reply.choices[0].message.content or "")["city"] in ("Paris", "Rome")


def test_a_named_tool_is_called(client: openai.OpenAI) -> None:
    function = {
        "name": "look_up",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    }
    reply = client.chat.completions.create(
        model=SMALL, messages=QUESTION, max_tokens=64, temperature=0,
        tools=[{"type": "function", "function": function}],  # type: ignore[list-item]
        tool_choice={"type": "function", "function": {"name": "look_up"}},
    )  # fmt: skip
    (call,) = reply.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}  # type: ignore[union-attr]


def test_logprobs_and_several_choices_pass_through(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model=SMALL, messages=QUESTION, max_tokens=2, n=2, logprobs=True, seed=7
    )
    assert len(reply.choices) == 2
    assert reply.choices[0].logprobs is not None


def test_the_engines_own_validation_is_the_callers_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model=SMALL, messages=QUESTION, temperature=-1)


def test_a_prompt_over_every_window_is_refused_before_the_engine(client: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "Paris " * 5000}]
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="auto", messages=long)  # type: ignore[arg-type]
    assert error.value.code == "context_length_exceeded"


def test_the_deadline_decides_which_tier_answers(address: str) -> None:
    # Given a long prompt with a short reply, and what each tier is predicted to need for it now.
    # The 4-bit tier reads prompts more slowly on every CPU; which one writes faster depends on it.
    long = [{"role": "user", "content": "The sea is wide. " * 200 + "What is the sea?"}]
    body = {"messages": long, "max_tokens": 4, "ignore_eos": True}
    with httpx.Client(base_url=address, timeout=120.0) as http:
        tiers = http.post("/v1/route", json=body).json()["candidates"]
        fastest, slowest = sorted(tiers, key=lambda tier: tier["p95_e2e_ms"])
        # When one asks for all the time, and one for a deadline that nothing meets
        loose = http.post(
            "/v1/chat/completions",
            json=body,
            headers={"x-slo-e2e-ms": str(slowest["p95_e2e_ms"] * 5)},
        )
        refused = http.post(
            "/v1/chat/completions",
            json=body,
            headers={"x-slo-e2e-ms": str(fastest["p95_e2e_ms"] / 20)},
        )
        smallest = refused.json()["error"]["smallest_feasible_e2e_ms"]
        tight = http.post(
            "/v1/chat/completions",
            json=body,
            headers={"x-slo-e2e-ms": str(smallest), "x-router-debug": "true"},
        )
    # Then quality, refusal, and a tier that fits, as predicted after what the first reply taught
    assert loose.headers["x-router-selected-model"] == LARGE
    assert refused.status_code == 422
    assert tight.status_code == 200
    candidates = json.loads(tight.headers["x-router-candidates"])
    fits = [tier["tier"] for tier in candidates if tier["p95_e2e_ms"] <= smallest]
    assert tight.headers["x-router-selected-model"] in fits


async def test_a_client_that_leaves_stops_the_engine_every_time(address: str) -> None:
    body = {"model": SMALL, "messages": QUESTION, "max_tokens": 1500, "min_tokens": 1500}
    assert await rounds_not_stopped(address, 50, body) == []


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_hard_deadline_stops_the_engine(address: str, is_streamed: bool) -> None:
    # Given a reply of more than a minute, and a caller who waits two seconds
    body = {
        "model": SMALL, "messages": QUESTION, "max_tokens": 1500, "ignore_eos": True,
        "stream": is_streamed, "slo": {"e2e_ms": 600_000},
    }  # fmt: skip
    async with httpx.AsyncClient(base_url=address, timeout=60.0) as http:
        # When the two seconds have passed
        response = await http.post(
            "/v1/chat/completions", json=body, headers={"x-request-timeout-seconds": "2"}
        )
        # Then the caller is told, and the engine has stopped
        assert "deadline_exceeded" in response.text
        assert response.status_code == (200 if is_streamed else 408)
        assert await is_idle_within(http, 1.0)


def test_neither_prompt_nor_reply_is_written_anywhere(address: str, run_dir: Path) -> None:
    # Given requests with a marked prompt, and a reply that can only be another mark
    prompt_mark, reply_mark = "MARKED-PROMPT-4711", "MARKED-REPLY-4712"
    schema = {"enum": [reply_mark]}
    asked: dict[str, Any] = {
        "messages": [{"role": "user", "content": f"Say something about {prompt_mark}."}],
        "max_tokens": 32,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    }
    fates = [{}, {"stream": True}, {"temperature": -1}, {"ignore_eos": True, "max_tokens": 10**6}]
    # When they are answered, streamed, refused by the engine, refused by the router, given up
    with httpx.Client(base_url=address, timeout=120.0) as http:
        said = [
            http.post("/v1/chat/completions", json={"model": tier, **asked, **fate}).text
            for tier in (SMALL, LARGE)
            for fate in fates
        ]
        late = {"x-request-timeout-seconds": "0.2"}
        http.post("/v1/chat/completions", json={"model": SMALL, **asked}, headers=late)
        told = [http.get(path).text for path in ("/metrics", "/v1/router/state")]
    # Then the replies hold the mark, and no file of the run, of Ray or of vLLM holds either
    assert sum(reply_mark in text for text in said) >= 2
    written = {**files_written(run_dir), "told": "".join(told).encode()}
    assert any(b"vllm" in data.lower() for data in written.values())
    for mark in (prompt_mark, reply_mark):
        assert [name for name, data in written.items() if mark.encode() in data] == []
