"""What a body must have, and what routing takes from it."""

from typing import Any

import pytest

from deployments.messages import Endpoint
from serve_app.api.parsing.bodies import Parsed, parse_ask, parse_json
from serve_app.errors import InvalidRequest, MalformedJson, NotPermitted, UnknownModel
from tests.unit.access.builders import a_key
from tests.unit.builders import a_config

LIMITS = a_config().input
HELLO = [{"role": "user", "content": "Hello"}]


def parsed(
    endpoint: Endpoint = "chat", headers: dict[str, str] | None = None, **body: Any
) -> Parsed:
    if endpoint == "chat":
        body.setdefault("messages", HELLO)
    return parse_ask(endpoint, body, headers or {}, a_config(), arrived_at_s=0.0)


def test_malformed_json_names_the_position() -> None:
    with pytest.raises(MalformedJson, match="line 2, column"):
        parse_json(b'{"a": 1,\n "b" }', LIMITS)


@pytest.mark.parametrize("raw", [b"[]", b"3", b'"text"', b"null"])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="JSON object"):
        parse_json(raw, LIMITS)


@pytest.mark.parametrize("raw", [b'{"a": NaN}', b"\xff\xfe", b'{"a": "\xc3"}', b""])
def test_what_json_does_not_allow_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_json(raw, LIMITS)


def test_a_tiers_id_pins_it() -> None:
    assert parsed(model="large").ask.pinned_tier == "large"


def test_auto_with_a_class_takes_its_objective() -> None:
    ask = parsed(model="auto:whatsapp").ask
    assert (ask.pinned_tier, ask.slo.e2e_ms, ask.slo_class) == (None, 5000, "whatsapp")


def test_an_unknown_model_lists_those_that_exist() -> None:
    with pytest.raises(UnknownModel, match="small, large, auto, auto:whatsapp"):
        parsed(model="gpt-4o")


def test_our_own_fields_never_reach_the_engine() -> None:
    ask = parsed(slo={"e2e_ms": 5000}, service_tier="flex", model="auto", priority=3).ask
    assert set(ask.body) == {"messages"}


def test_every_other_field_reaches_the_engine() -> None:
    ask = parsed(temperature=0.3, tools=[], guided_json={}, seed=7, top_k=5).ask
    assert {"temperature", "tools", "guided_json", "seed", "top_k"} <= set(ask.body)


def test_the_newer_name_of_max_tokens_wins() -> None:
    assert parsed(max_tokens=10, max_completion_tokens=20).ask.max_tokens == 20


def test_completions_have_openais_default_length() -> None:
    assert parsed("completions", prompt="Once").ask.max_tokens == 16


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, 16), ({"max_tokens": None}, 16), ({"max_tokens": 9}, 9),
        ({"max_completion_tokens": 200}, 16),
        ({"max_tokens": 4000, "max_completion_tokens": 16}, 4000),
    ],
)  # fmt: skip
def test_the_engine_gets_the_limit_that_a_completion_is_planned_with(
    given: dict[str, Any], limit: int
) -> None:
    ask = parsed("completions", prompt="Once", **given).ask
    assert (ask.max_tokens, ask.body["max_tokens"]) == (limit, limit)
    assert "max_completion_tokens" not in ask.body


def test_null_is_as_good_as_nothing() -> None:
    assert set(parsed(n=None, tool_choice=None, stop=None).ask.body) == {"messages"}


def test_a_tool_that_may_be_defined_may_be_called() -> None:
    name = "server/prüfe:konto"
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": "{}"}}
    answer = {"role": "tool", "tool_call_id": "c1", "name": name, "content": "3"}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [call]}, answer]
    assert parsed(messages=messages, tools=[{"type": "function", "function": {"name": name}}])
    for bad in ("", "a b", "<|im_end|>", "x" * 65):
        with pytest.raises(InvalidRequest, match="name"):
            parsed(tools=[{"type": "function", "function": {"name": bad}}])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0), ("max_tokens", "ten"), ("max_tokens", True), ("n", 0), ("n", 1.5),
        ("stream", "yes"), ("messages", []), ("messages", "hi"), ("messages", [3]),
        ("messages", [{"content": "no role"}]), ("priority", "high"), ("service_tier", "gold"),
    ],
)  # fmt: skip
def test_a_bad_value_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as error:
        parsed(**{field: value})
    assert error.value.param is not None
    assert error.value.param.startswith(field)


@pytest.mark.parametrize("prompt", [None, "", [], 3])
def test_a_completion_needs_a_prompt(prompt: Any) -> None:
    with pytest.raises(InvalidRequest, match="prompt"):
        parsed("completions", prompt=prompt)


def test_flex_waits_and_priority_is_urgent() -> None:
    flex, urgent = parsed(service_tier="flex"), parsed(service_tier="priority")
    assert flex.ask.priority is not None
    assert urgent.ask.priority == 0 < flex.ask.priority


def test_the_callers_request_id_is_kept_without_control_characters() -> None:
    ask = parsed(headers={"x-request-id": "order-7\r\nset-cookie: x"}).ask
    assert ask.request_id == "order-7set-cookie:x"


def test_only_trace_headers_travel_on() -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {"traceparent": parent, "authorization": "Bearer secret"}
    assert parsed(headers=headers).ask.trace_headers == {"traceparent": parent}


@pytest.mark.parametrize("parent", ["00-a-b-01", "x" * 9000, "00-\r\nx: y"])
def test_a_trace_header_that_is_none_does_not_travel_on(parent: str) -> None:
    assert parsed(headers={"traceparent": parent, "tracestate": "a=b"}).ask.trace_headers == {}


def test_a_key_brings_its_own_default_class() -> None:
    key, _ = a_key(default_slo_class="whatsapp")
    ask = parse_ask("chat", {"messages": HELLO}, {}, a_config(), arrived_at_s=0.0, key=key).ask
    assert (ask.slo_class, ask.slo.source) == ("whatsapp", "default")


def test_a_key_is_held_to_its_models() -> None:
    key, _ = a_key(models=["small"])
    with pytest.raises(NotPermitted, match="'auto'"):
        parse_ask("chat", {"messages": HELLO}, {}, a_config(), arrived_at_s=0.0, key=key)


@pytest.mark.parametrize(
    ("prompt", "number"),
    [("Once", 1), (["Once"], 1), (["Once", "upon", "a"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
)
def test_every_prompt_of_a_list_is_a_reply_of_its_own(prompt: Any, number: int) -> None:
    assert parsed("completions", prompt=prompt).ask.sequences == number
    assert parsed("completions", prompt=prompt, n=2).ask.sequences == 2 * number


@pytest.mark.parametrize(
    ("headers", "slo"),
    [
        ({}, {"e2e_ms": 1}), ({"x-slo-e2e-ms": "1"}, None), ({}, {"attainment": 0.001}),
        ({}, {"on_infeasible": "degrade", "expected_output_tokens": 9}),
    ],
)  # fmt: skip
def test_a_key_of_classes_may_not_put_its_own_limits_into_one(
    headers: dict[str, str], slo: dict[str, Any] | None
) -> None:
    key, _ = a_key(classes=["whatsapp"])
    body = {"messages": HELLO, "model": "auto:whatsapp", "slo": slo}
    with pytest.raises(NotPermitted, match="objectives of its own"):
        parse_ask("chat", body, headers, a_config(), arrived_at_s=0.0, key=key)


def test_a_key_of_classes_may_tell_the_length_that_it_expects() -> None:
    key, _ = a_key(classes=["whatsapp"])
    body = {"messages": HELLO, "model": "auto:whatsapp", "slo": {"expected_output_tokens": 9}}
    ask = parse_ask("chat", body, {}, a_config(), arrived_at_s=0.0, key=key).ask
    assert (ask.expected_output_tokens, ask.slo.e2e_ms) == (9, 5000)


def test_a_key_learns_nothing_of_models_that_it_may_not_use() -> None:
    key, _ = a_key(models=["small"])
    for model in ("large", "nobody", "auto+nobody"):
        with pytest.raises(NotPermitted):
            body = {"messages": HELLO, "model": model}
            parse_ask("chat", body, {}, a_config(), arrived_at_s=0.0, key=key)
