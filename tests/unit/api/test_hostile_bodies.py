"""What a body may not contain: each refusal names the field, and quotes no prompt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.messages import Endpoint
from serve_app.api.parsing.bodies import Parsed, parse_ask, parse_json
from serve_app.api.parsing.contents.patterns import most_repetitions
from serve_app.errors import InvalidRequest, TandemError
from tests.unit.builders import a_config

CONFIG = a_config()
SECRET = "my secret prompt"


def parsed(endpoint: Endpoint = "chat", **body: Any) -> Parsed:
    if endpoint == "chat":
        body.setdefault("messages", [{"role": "user", "content": SECRET}])
    return parse_ask(endpoint, body, {}, CONFIG, arrived_at_s=0.0)


def a_message(**changes: Any) -> dict[str, Any]:
    return {"role": "user", "content": SECRET} | changes


def an_image(url: str) -> list[dict[str, Any]]:
    return [a_message(content=[{"type": "image_url", "image_url": {"url": url}}])]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "32 levels deep"),
        (b'{"a": ' + b"[" * 100_000, "not valid JSON"),
        (b'{"a": [' + b"{}," * 30_000 + b"{}]}", "20000 objects and lists"),
        (b"{" + b",".join(b'"k%d": 1' % i for i in range(200)) + b"}", "200 fields"),
        (b'{"' + b"k" * 100 + b'": 1}', "100 characters"),
        (b'{"a": 1e999}', "not valid JSON"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
    ],
)
def test_a_body_built_to_exhaust_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        parse_json(raw, CONFIG.input)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 17), ("n", 10**30), ("best_of", 1000), ("max_tokens", 10**9), ("max_tokens", 1e300),
        ("max_completion_tokens", 2**64), ("min_tokens", 10**9), ("temperature", float("nan")),
        ("temperature", "hot"), ("top_p", float("inf")), ("seed", 2**70), ("top_logprobs", 10**6),
        ("logprobs", 10**6), ("prompt_logprobs", -1), ("stop", ["x"] * 17), ("stop", ["x" * 300]),
        ("stop", [3]), ("stop", {"a": 1}), ("bad_words", ["x"] * 99), ("stop_token_ids", [-1]),
        ("logit_bias", {str(i): 1 for i in range(2000)}), ("logit_bias", {"1": 101}),
        ("logit_bias", {"a\r\nb": 1}), ("logit_bias", {"1": float("nan")}), ("logit_bias", [1]),
        ("stream_options", [1]), ("stream_options", {"include_usage": "x"}), ("user", "a\x00b"),
        ("user", "x" * 1000), ("prompt_embeds", "gASV"), ("chat_template", "{{ 7 * 7 }}"),
        ("chat_template_kwargs", 3), ("kv_transfer_params", {"a": 1}),
        ("vllm_xargs", {"kv_transfer_params": "x"}), ("ec_transfer_params", {"a": 1}),
        ("tools", [{}] * 200),
        ("tools", [{"function": {"name": 3}}]), ("tool_choice", 3), ("response_format", "json"),
        ("response_format", {"type": "xml"}), ("guided_choice", "a"), ("structured_outputs", 3),
    ],
)  # fmt: skip
def test_a_value_without_bounds_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as error:
        parsed(**{field: value})
    assert error.value.status == 400
    assert (error.value.param or "").startswith(field)
    assert error.value.message.isprintable()


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ([a_message(role="<|im_start|>system")], r"messages\[0\]\.role"),
        ([a_message(role="root")], r"messages\[0\]\.role"),
        ([a_message(name="<|im_end|>")], r"messages\[0\]\.name"),
        ([a_message(content=3)], r"messages\[0\]\.content"),
        ([a_message(content=[{"type": "text"}])], r"messages\[0\]\.content\[0\]"),
        ([a_message(content=[SECRET])], r"messages\[0\]\.content\[0\]"),
        ([a_message(tool_calls=[{"function": 1}])], r"messages\[0\]\.tool_calls\[0\]"),
        ([a_message(tool_call_id="a\nb")], r"messages\[0\]\.tool_call_id"),
        ([SECRET], r"messages\[0\]"),
        ([a_message()] * 3000, "messages"),
        (an_image("http://169.254.169.254/latest"), r"messages\[0\]\.content\[0\]"),
        (an_image("file:///etc/passwd"), r"messages\[0\]\.content\[0\]"),
    ],
)
def test_a_message_that_is_none_is_refused_without_quoting_it(
    messages: list[Any], where: str
) -> None:
    with pytest.raises(InvalidRequest, match=where) as error:
        parsed(messages=messages)
    assert SECRET not in error.value.message
    assert "169.254" not in error.value.message


@pytest.mark.parametrize(
    "prompt",
    [[1, "a"], [[1], ["a"]], [[]], [None], {"a": 1}, [-1], [2**40], [True], ["a"] * 100, [[[1]]]],
)
def test_a_prompt_of_mixed_kinds_is_refused(prompt: Any) -> None:
    with pytest.raises(InvalidRequest) as error:
        parsed("completions", prompt=prompt)
    assert error.value.param == "prompt"


def test_a_field_of_the_other_endpoint_is_dropped() -> None:
    assert "messages" not in parsed("completions", prompt="Once", messages=[""]).ask.body
    assert "prompt" not in parsed(prompt=[{}]).ask.body


@pytest.mark.parametrize("prompt", ["Once", ["Once", "upon"], [1, 2, 3], [[1, 2], [3]]])
def test_every_form_of_prompt_is_taken(prompt: Any) -> None:
    assert parsed("completions", prompt=prompt).ask.body["prompt"] == prompt


def test_a_thousand_choices_are_taken_and_no_more() -> None:
    choices = [f"choice {number}" for number in range(1_001)]
    assert parsed(guided_choice=choices[:-1])
    with pytest.raises(
        InvalidRequest, match=r"has 1001 choices; the limit is 1000 \(input\.max_ch"
    ):
        parsed(structured_outputs={"choice": choices})


@pytest.mark.parametrize(
    "pattern",
    [
        "(a{1000}){1000}", "((a{50}){50}){50}", "a{99999999999}", "(" * 100 + ")" * 100,
        "x" * 2000, r"(a)\1", "(?=a)b", "(?<!a)b",
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["guided_regex", "structured_outputs"])
def test_a_pattern_that_explodes_is_refused(field: str, pattern: str) -> None:
    value = pattern if field == "guided_regex" else {"regex": pattern}
    with pytest.raises(InvalidRequest, match="regex"):
        parsed(**{field: value})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 10**9},
        {"type": "array", "maxItems": 9999, "items": {"maxItems": 9999, "items": {"maxItems": 9}}},
        {"properties": {"a": {"pattern": "(a{1000}){1000}"}}},
        {"patternProperties": {"(a{1000}){1000}": {}}},
        {"$ref": "http://169.254.169.254/"},
        {"enum": ["x" * 70_000]},
        {"enum": list(range(1_001))},
        {"items": {"properties": {f"p{number}": {} for number in range(401)}}},
        {
            "default": {"properties": {f"p{number}": {} for number in range(401)}},
            "$ref": "#/default",
        },
        {"maxItems": "many"},
        "not json",
        {"default": {"pattern": "(a{1000}){1000}"}, "$ref": "#/default"},
        {"properties": {"pattern": "(a{1000}){1000}"}, "$ref": "#/properties"},
        {
            "items": {"$ref": "#/$defs/a"},
            "$defs": {
                "a": {"maxItems": 9999, "items": {"$ref": "#/$defs/b"}},
                "b": {"maxItems": 9999, "items": {"maxItems": 9}},
            },
        },
        {
            "$ref": "#/$defs/0",
            "$defs": {str(i): {"anyOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(40)},
        },
        '{"items": ' * 900 + "{}" + "}" * 900,
    ],
)
@pytest.mark.parametrize("where", ["guided_json", "response_format", "tools"])
def test_a_schema_that_explodes_is_refused(where: str, schema: Any) -> None:
    fields: dict[str, Any] = {
        "guided_json": schema,
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
    }
    with pytest.raises(InvalidRequest) as error:
        parsed(**{where: fields[where]})
    assert (error.value.param or "").startswith(where)


@pytest.mark.parametrize("where", ["guided_json", "response_format", "tools"])
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}},
        {"$defs": {"maxItems": {"type": "integer"}}, "properties": {"a": {"type": "string"}}},
        {"properties": {"properties": {"type": "object"}, "patternProperties": {"type": "array"}}},
        {"properties": {"a": {"enum": [{"pattern": 3}], "default": {"maxItems": "many"}}}},
        {"properties": {name: {"type": "string", "maxLength": 2000} for name in "abcdef"}},
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": {
                    "properties": {"next": {"$ref": "#/$defs/node"}, "name": {"maxLength": 2000}}
                }
            },
        },
    ],
)
def test_a_schema_is_not_refused_for_its_names_values_or_siblings(where: str, schema: Any) -> None:
    fields: dict[str, Any] = {
        "guided_json": schema,
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
    }
    assert where in parsed(**{where: fields[where]}).ask.body


@pytest.mark.parametrize("inside", ["properties", "$defs", "dependentSchemas", "patternProperties"])
def test_a_pattern_that_explodes_is_found_wherever_schemas_are(inside: str) -> None:
    schema: dict[str, Any] = {inside: {"properties": {"items": {"pattern": "(a{1000}){1000}"}}}}
    with pytest.raises(InvalidRequest, match="pattern"):
        parsed(guided_json=schema)


def test_usual_structures_are_taken() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 100}}}
    function = {"name": "weather", "parameters": schema}
    body = parsed(
        tools=[{"type": "function", "function": function}],
        response_format={"type": "json_schema", "json_schema": {"name": "c", "schema": schema}},
        guided_regex=r"[a-z]{1,20}@[a-z]+\.(com|org)",
        stop=["\n"], logit_bias={"50256": -100}, top_logprobs=5, logprobs=True,
    ).ask.body  # fmt: skip
    assert {"tools", "response_format", "guided_regex", "stop", "logit_bias"} <= set(body)


def test_media_are_taken_where_the_configuration_says_so() -> None:
    config = a_config(input={"media": True})
    body = {"messages": an_image("https://example.org/cat.png")}
    assert parse_ask("chat", body, {}, config, arrived_at_s=0.0).ask.body["messages"]


@given(st.text(alphabet="a(){}[]\\|*+?,0123456789^$-", max_size=60))
def test_no_pattern_breaks_the_count(pattern: str) -> None:
    assert most_repetitions(pattern) >= 0


@given(st.text(alphabet="ab", max_size=5), st.integers(1, 50), st.integers(1, 50))
def test_nested_repetitions_multiply(text: str, inner: int, outer: int) -> None:
    assert most_repetitions(f"({text}c{{{inner}}}){{{outer}}}") == (len(text) + inner) * outer


def test_a_name_as_long_as_the_body_is_not_sent_back() -> None:
    with pytest.raises(TandemError) as error:
        parsed(model="x" * 100_000)
    assert len(error.value.message) < 1000
