"""Where an objective comes from, and who wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.parsing.slo import Objective, resolve
from serve_app.errors import InvalidRequest, UnknownModel
from tests.unit.builders import a_config


def objective(
    body_slo: object = None,
    class_name: str | None = None,
    is_streamed: bool = False,
    default: str | None = None,
    **headers: str,
) -> Objective:
    config = a_config(routing={"default_slo_class": default})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return resolve(body_slo, named, class_name, config, is_streamed=is_streamed)


def test_the_body_beats_the_header() -> None:
    result = objective({"e2e_ms": 1000}, x_slo_e2e_ms="2000")
    assert (result.slo.e2e_ms, result.slo.source) == (1000, "body")


def test_the_header_beats_the_class() -> None:
    result = objective(class_name="whatsapp", x_slo_e2e_ms="2000")
    assert (result.slo.e2e_ms, result.slo_class) == (2000, "whatsapp")


def test_a_class_brings_its_length_and_its_way_out() -> None:
    result = objective(class_name="whatsapp")
    assert (result.slo.e2e_ms, result.expected_output_tokens) == (5000, 313)
    assert result.slo.on_infeasible == ("degrade",)


def test_a_class_may_be_named_by_header() -> None:
    assert objective(x_slo_class="interactive").slo.ttft_ms == 500


def test_an_explicit_objective_is_refused_rather_than_missed() -> None:
    assert objective(x_slo_e2e_ms="2000").slo.on_infeasible == ("reject",)


def test_the_clients_timeout_is_objective_and_hard_deadline() -> None:
    result = objective(x_request_timeout_seconds="7.5", default="whatsapp")
    assert (result.slo.e2e_ms, result.deadline_s, result.slo.source) == (7500, 7.5, "timeout")


@pytest.mark.parametrize(
    ("is_streamed", "timeout", "expected"),
    [(False, "12", 12_000), (False, "600", None), (True, "12", None)],
)
def test_the_sdks_timeout_counts_when_it_limits_the_whole_reply(
    is_streamed: bool, timeout: str, expected: float | None
) -> None:
    result = objective(is_streamed=is_streamed, x_stainless_read_timeout=timeout)
    assert result.slo.e2e_ms == expected


def test_a_client_that_waits_less_than_its_class_allows_cuts_the_limit() -> None:
    result = objective(class_name="whatsapp", x_request_timeout_seconds="3")
    assert (result.slo.e2e_ms, result.slo.source, result.slo_class) == (3000, "class", "whatsapp")
    longer = objective(class_name="whatsapp", x_request_timeout_seconds="30")
    assert longer.slo.e2e_ms == 5000
    first_token = objective({"ttft_ms": 300}, x_request_timeout_seconds="3")
    assert (first_token.slo.ttft_ms, first_token.slo.e2e_ms) == (300, 3000)


def test_an_objective_of_its_own_is_kept_beside_a_timeout() -> None:
    result = objective({"e2e_ms": 9000}, x_request_timeout_seconds="3")
    assert (result.slo.e2e_ms, result.deadline_s) == (9000, 3.0)


def test_the_default_class_serves_those_who_ask_nothing() -> None:
    result = objective(default="whatsapp")
    assert (result.slo.e2e_ms, result.slo.source) == (5000, "default")


def test_nothing_asked_and_no_default_means_no_limit() -> None:
    assert objective().slo.is_empty


def test_the_llm_d_headers_are_understood() -> None:
    result = objective(x_llm_d_slo_ttft_ms="300", x_slo_tpot_ms="40")
    assert (result.slo.ttft_ms, result.slo.tpot_ms) == (300, 40)


def test_a_bad_header_is_ignored_and_told() -> None:
    result = objective(x_slo_e2e_ms="soon")
    assert result.slo.is_empty
    assert result.warnings == ("x-slo-e2e-ms: ignored, not a number above 0",)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"e2e_ms": -1}, "slo.e2e_ms"),
        ({"e2e_ms": "soon"}, "slo.e2e_ms"),
        ({"e2e_ms": float("inf")}, "slo.e2e_ms"),
        ({"e2e": 5}, "slo"),
        ("fast", "slo"),
    ],
)
def test_a_bad_body_names_the_field(body: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        objective(body)
    assert error.value.param == field


def test_an_unknown_class_lists_those_that_exist() -> None:
    with pytest.raises(UnknownModel, match="interactive"):
        objective(class_name="whatsup")


@given(st.text())
def test_no_header_text_breaks_the_parser(text: str) -> None:
    config = a_config()
    resolve(None, {"x-slo-e2e-ms": text}, None, config, is_streamed=False)
