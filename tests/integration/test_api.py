"""The HTTP API with the real OpenAI client, over real Ray and HAProxy."""

import json

import httpx
import openai
import pytest

from tests.integration.conftest import a_body

HELLO = [{"role": "user", "content": "Hello"}]


def test_models_are_the_tiers_and_the_virtual_ones(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [
        "small", "large", "auto", "auto:whatsapp",
    ]  # fmt: skip
    assert client.models.retrieve("auto:whatsapp").id == "auto:whatsapp"


def test_chat_answers_and_names_the_tier(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="auto", messages=HELLO, max_tokens=3)
    assert reply.model == "large"
    assert reply.choices[0].message.content == "word1 word2 word3"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 3


def test_a_stream_ends_with_usage_when_asked(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="small", messages=HELLO, max_tokens=5, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "word1 word2 word3 word4 word5"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5


def test_completions_answer(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="small", prompt="Once upon a time", max_tokens=2)
    assert reply.choices[0].text == "word1 word2"


def test_an_unknown_model_is_the_sdks_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="small, large, auto"):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)


def test_a_prompt_over_every_window_is_the_sdks_bad_request(client: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "word " * 9000}]
    with pytest.raises(openai.BadRequestError, match="context window") as error:
        client.chat.completions.create(model="auto", messages=long)
    assert error.value.code == "context_length_exceeded"


def test_a_bad_objective_names_the_field(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"slo\.e2e_ms") as error:
        client.chat.completions.create(
            model="auto", messages=HELLO, extra_body={"slo": {"e2e_ms": -5}}
        )
    assert error.value.param == "slo.e2e_ms"


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b'{"model": ', 400, "malformed_json"),
        (b"[1, 2]", 400, "invalid_request"),
        (b"x" * 200_000, 413, "body_too_large"),
    ],
)
def test_a_broken_body_is_refused_in_openais_form(
    http: httpx.Client, content: bytes, status: int, code: str
) -> None:
    response = http.post("/v1/chat/completions", content=content)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code


def test_an_unknown_path_is_refused_in_openais_form(http: httpx.Client) -> None:
    response = http.get("/v2/nothing")
    assert response.status_code == 404
    assert "/docs" in response.json()["error"]["message"]


def test_a_reply_is_explained_afterwards(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json=a_body(max_tokens=2))
    decision_id = response.headers["x-router-decision-id"]
    decision = http.get(f"/v1/router/decisions/{decision_id}").json()
    assert decision["selected"] == response.headers["x-router-selected-model"]
    assert decision["outcome"]["output_tokens"] == 2


def test_candidates_are_shown_on_request(http: httpx.Client) -> None:
    body = a_body(max_tokens=1)
    response = http.post("/v1/chat/completions", json=body, headers={"x-router-debug": "true"})
    tiers = [candidate["tier"] for candidate in json.loads(response.headers["x-router-candidates"])]
    assert tiers == ["small", "large"]


def test_a_dry_run_decides_like_the_real_one(http: httpx.Client) -> None:
    body = a_body(slo={"e2e_ms": 1500})
    dry = http.post("/v1/route", json=body).json()
    real = http.post("/v1/chat/completions", json=body)
    assert dry["selected"] == real.headers["x-router-selected-model"] == "small"
    assert dry["candidates"][1]["why_not"].startswith("meets the SLO with probability")


def test_the_service_tier_is_echoed(http: httpx.Client) -> None:
    body = a_body(max_tokens=1, service_tier="flex")
    assert http.post("/v1/chat/completions", json=body).json()["service_tier"] == "flex"


def test_tokens_are_counted_as_the_tier_does(http: httpx.Client) -> None:
    assert http.post("/tokenize", json={"model": "smal", "prompt": "one"}).status_code == 404
    counted = http.post("/tokenize", json={"model": "small", "prompt": "one two three"}).json()
    assert (counted["count"], counted["max_model_len"]) == (3, 8192)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/openapi.json"])
def test_what_operators_look_at_answers(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 200


def test_an_engines_failure_is_an_error_not_a_hang(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", json=a_body(fake={"fault": "fail"}))
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "The fake was asked to fail."
