"""Objectives over HTTP: the tier that meets them, or the truth about why none does."""

import httpx

from tests.integration.conftest import a_body


def ask(
    http: httpx.Client, headers: dict[str, str] | None = None, **body: object
) -> httpx.Response:
    return http.post("/v1/chat/completions", json=a_body(**body), headers=headers)


def test_a_tight_objective_goes_small_and_a_loose_one_large(http: httpx.Client) -> None:
    # Given one prompt, whose 64 tokens take 0.7 s or 2 s
    tight = ask(http, {"x-slo-e2e-ms": "1500"})
    loose = ask(http, {"x-slo-e2e-ms": "20000"})
    # Then the deadline alone decides, and the headers say so
    assert tight.headers["x-router-selected-model"] == "small"
    assert loose.headers["x-router-selected-model"] == "large"
    for response in (tight, loose):
        assert response.headers["x-router-reason"] == "best-quality-within-slo"
        assert response.headers["x-router-slo-met"] == "true"


def test_an_impossible_objective_names_one_that_works(http: httpx.Client) -> None:
    # Given a deadline that no tier meets, for a reply of fixed length
    body = {"ignore_eos": True, "max_tokens": 64}
    refused = ask(http, {"x-slo-e2e-ms": "100"}, **body)
    assert refused.status_code == 422
    assert refused.headers["x-router-dropped-reason"] == "rejected-slo-infeasible"
    # When the caller comes back with the smallest feasible one
    smallest = refused.json()["error"]["smallest_feasible_e2e_ms"]
    accepted = ask(http, {"x-slo-e2e-ms": str(smallest)}, **body)
    # Then it is served, in time
    assert accepted.status_code == 200
    assert accepted.headers["x-router-slo-met"] == "true"


def test_a_degradable_objective_is_served_by_the_fastest(http: httpx.Client) -> None:
    response = ask(http, slo={"e2e_ms": 100, "on_infeasible": "degrade"})
    assert response.headers["x-router-selected-model"] == "small"
    assert response.headers["x-router-reason"] == "slo-degraded"
    assert response.headers["x-router-slo-met"] == "false"


def test_a_class_brings_its_objective(http: httpx.Client) -> None:
    response = ask(http, model="auto:whatsapp")
    assert response.headers["x-router-slo-e2e-ms"] == "5000"


def test_a_bad_header_is_ignored_with_a_warning(http: httpx.Client) -> None:
    response = ask(http, {"x-slo-e2e-ms": "soon"}, max_tokens=1)
    assert response.status_code == 200
    assert "x-slo-e2e-ms" in response.headers["x-router-warning"]


def test_a_hard_deadline_ends_an_unstreamed_reply(http: httpx.Client) -> None:
    headers = {"x-request-timeout-seconds": "0.5"}
    body = {"slo": {"e2e_ms": 60_000}, "fake": {"fault": "hang"}}
    response = ask(http, headers, **body)
    assert response.status_code == 408
    assert response.json()["error"]["code"] == "deadline_exceeded"


def test_a_hard_deadline_ends_a_stream_with_an_error_event(http: httpx.Client) -> None:
    headers = {"x-request-timeout-seconds": "0.6"}
    body = {"slo": {"e2e_ms": 60_000}, "stream": True, "max_tokens": 1000}
    response = ask(http, headers, **body, fake={"output_tokens": 1000})
    assert response.status_code == 200
    assert "deadline_exceeded" in response.text
    assert response.text.endswith("data: [DONE]\n\n")
