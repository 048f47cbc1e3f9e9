"""Requests that no client should send, as Hypothesis strategies: nearly valid, then broken."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

_GENERATING = ("/v1/chat/completions", "/v1/completions", "/v1/route", "/tokenize")
_TELLING = (
    "/v1/models", "/v1/models/auto", "/v1/models/x%00y", "/v1/router/state", "/v1/router/keys",
    "/v1/router/decisions/abc", "/v1/router/decisions/%0d%0ax", "/livez", "/readyz", "/metrics",
    "/docs", "/openapi.json", "/", "/v1/", "/v1/../livez", "//",
)  # fmt: skip
_FIELDS = (
    "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "min_tokens", "n",
    "best_of", "stream", "stream_options", "stop", "logit_bias", "logprobs", "top_logprobs",
    "temperature", "top_p", "top_k", "seed", "user", "tools", "tool_choice", "response_format",
    "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs",
    "chat_template", "chat_template_kwargs", "add_generation_prompt", "slo", "priority",
    "service_tier", "ignore_eos", "metadata", "prompt_embeds", "echo", "suffix", "documents",
    "add_special_tokens", "stop_token_ids", "bad_words", "prompt_logprobs",
    "truncate_prompt_tokens",
)  # fmt: skip
HEADERS = (
    "x-request-id", "x-session-id", "x-task", "x-slo-class", "x-slo-e2e-ms", "x-slo-ttft-ms",
    "x-llm-d-slo-tpot-ms", "x-request-timeout-seconds", "x-stainless-timeout",
    "x-stainless-retry-count", "x-router-debug", "traceparent", "tracestate", "content-type",
    "content-length", "accept", "cookie", "host", "x-forwarded-for", "transfer-encoding",
)  # fmt: skip


_METHODS = ["POST"] * 16 + ["GET", "PUT", "HEAD", "OPTIONS"]
_NINE_IN_TEN = [True] * 9 + [False]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request, as the server's protocol layer hands it on."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    chunks: tuple[bytes, ...]


_odd_texts = st.sampled_from(
    [
        "", "auto", "auto:whatsapp", "auto:", "small", "\x00", "\r\nset-cookie: x", "\u202e",
        "<|im_start|>system", "{{ 7 * 7 }}", "${jndi:ldap://x}", "../../etc/passwd", "a" * 5000,
        "(a{1000}){1000}", "(((((((((", "http://169.254.169.254/", "NaN", "1e999", "true", "-1",
    ]
)  # fmt: skip
_texts = st.one_of(_odd_texts, st.text(max_size=40))
_numbers = st.one_of(
    st.integers(-3, 70), st.integers(), st.floats(), st.sampled_from([2**31, 2**63, 2**64, 10**30])
)
_scalars = st.one_of(st.none(), st.booleans(), _numbers, _texts)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "input_audio", "file", "x"])},
    optional={"text": _texts, "image_url": st.fixed_dictionaries({"url": _texts}), "file": _values},
)
_messages = st.fixed_dictionaries(
    {
        "role": st.one_of(st.sampled_from(["system", "user", "assistant", "tool"]), _texts),
        "content": st.one_of(_texts, st.lists(_parts, max_size=3), _values),
    },
    optional={
        "name": _texts,
        "tool_call_id": _texts,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {"function": st.fixed_dictionaries({"name": _texts, "arguments": _values})}
            ),
            max_size=2,
        ),
    },
)
_schemas = st.recursive(
    st.sampled_from([{}, {"type": "string"}, {"$ref": "http://x/"}, {"$ref": "#"}, True]),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"properties": st.dictionaries(_texts, inner, max_size=3)}),
        st.fixed_dictionaries({"items": inner, "maxItems": _numbers}),
        st.fixed_dictionaries(
            {"pattern": st.one_of(_texts, st.text("a(){}[]|*9,\\^", max_size=30))}
        ),
    ),
    max_leaves=6,
)
_structures = st.fixed_dictionaries(
    {},
    optional={
        "guided_json": _schemas,
        "guided_regex": st.text("ab(){}[]\\|*+?,0123456789^$-", max_size=40),
        "response_format": st.fixed_dictionaries(
            {
                "type": st.sampled_from(["json_schema", "json_object", "text", "x"]),
                "json_schema": st.fixed_dictionaries({"name": _texts, "schema": _schemas}),
            }
        ),
        "tools": st.lists(
            st.fixed_dictionaries(
                {"function": st.fixed_dictionaries({"name": _texts, "parameters": _schemas})}
            ),
            max_size=3,
        ),
    },
)
_models = st.sampled_from(["auto", "small", "large", "auto:whatsapp"])
_chats = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": _texts}),
    min_size=1,
    max_size=3,
)
_prompts = st.one_of(_texts, st.lists(st.one_of(_texts, st.integers(-1, 9)), max_size=5))
_nearly_valid = st.fixed_dictionaries(
    {
        "model": st.one_of(*[_models] * 5, _values),
        "messages": st.one_of(_chats, _chats, st.lists(_messages, max_size=4)),
        "prompt": st.one_of(st.just("Once upon"), _prompts),
    },
    optional={
        "stream": st.booleans(),
        "max_tokens": st.one_of(st.integers(1, 50), _numbers),
        "slo": st.dictionaries(
            st.sampled_from(["e2e_ms", "ttft_ms", "tpot_ms", "attainment", "on_infeasible", "x"]),
            _values,
            max_size=3,
        ),
    },
)
_bodies = st.builds(
    lambda base, structure, odd: base | structure | odd,
    _nearly_valid,
    st.one_of(st.just({}), _structures),
    st.one_of(st.just({}), st.dictionaries(st.sampled_from(_FIELDS), _values, max_size=3)),
)


def _encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


_HELLO = _encoded({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3})
_raw_bodies = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"", b"{", b"[]", b"null", b'{"messages": [' + b"[" * 3000, b'{"a":' * 2000,
            b"\xff\xfe", b'"x"',
            b'{"messages": "\xc3"}', b'{"max_tokens": 1e999}', b'{"n": NaN}', b'{"a": "\\ud800"}',
            b"\xef\xbb\xbf" + _HELLO, _HELLO + _HELLO, b" " * 300_000, b'{"x": [' + b"{}," * 60_000,
        ]
    ),
)  # fmt: skip


@st.composite
def _broken(draw: st.DrawFn) -> bytes:
    """A body that was valid JSON, with bytes cut out and put in."""
    raw = _encoded(draw(_bodies))
    at = draw(st.integers(0, len(raw)))
    return raw[:at] + draw(st.binary(max_size=4)) + raw[at + draw(st.integers(0, 4)) :]


_header_values = st.one_of(
    st.sampled_from([b"", b"0", b"-1", b"5000", b"1e999", b"nan", b"inf", b"0x10", b"a" * 20_000]),
    _texts.map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=60),
)
_headers = st.lists(st.tuples(st.sampled_from(HEADERS), _header_values), max_size=4)


@st.composite
def requests(draw: st.DrawFn, token: str | None) -> Sent:
    """One request; nine in ten present the right key, where there is one."""
    path = draw(st.sampled_from(_GENERATING * 12 + _TELLING))
    method = draw(st.sampled_from(_METHODS if path in _GENERATING else ["GET", "GET", "POST"]))
    raw = draw(st.one_of(_bodies.map(_encoded), _bodies.map(_encoded), _broken(), _raw_bodies))
    cut = draw(st.integers(0, len(raw)))
    headers = [(name.encode(), value) for name, value in draw(_headers)]
    if token is not None and draw(st.sampled_from(_NINE_IN_TEN)):
        headers.append((b"authorization", f"Bearer {token}".encode()))
    elif token is not None:
        headers.append((b"authorization", draw(_header_values)))
    return Sent(method, path, tuple(headers), (raw[:cut], raw[cut:]))
