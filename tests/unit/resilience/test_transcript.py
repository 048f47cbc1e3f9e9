"""How a broken stream is taken up: what the next engine is asked, what the caller then gets."""

from typing import Any

import orjson
import pytest

from serve_app.resilience.join import Join, as_usage, ending
from serve_app.resilience.transcript import Transcript
from tests.unit.builders import an_ask

MESSAGES = [{"role": "user", "content": "Count."}]


def a_chunk(text: str | None = None, **changes: Any) -> bytes:
    delta: dict[str, Any] = {"role": "assistant"} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta | changes.pop("delta", {}), "finish_reason": None}
    choice |= changes.pop("choice", {})
    chunk = {"id": "chatcmpl-1", "created": 1, "model": "small", "choices": [choice]}
    return b"data: " + orjson.dumps(chunk | changes) + b"\n\n"


def a_text_chunk(text: str) -> bytes:
    return b"data: " + orjson.dumps({"id": "c", "choices": [{"index": 0, "text": text}]}) + b"\n\n"


def a_broken(*texts: str, **body: Any) -> Transcript:
    transcript = Transcript(an_ask(body={"messages": MESSAGES} | body))
    transcript.add(a_chunk() + b"".join(a_chunk(text) for text in texts))
    return transcript


def a_join(transcript: Transcript, tokens_before: int = 1) -> Join:
    repeated = transcript.text[len(transcript.said) :]
    return Join(transcript.envelope, repeated, tokens_before)


def said_in(data: bytes) -> str:
    events = [e.removeprefix(b"data: ") for e in data.split(b"\n\n") if e.startswith(b"data: {")]
    choices = [choice for event in events for choice in orjson.loads(event)["choices"]]
    return "".join(c["delta"].get("content", "") if "delta" in c else c["text"] for c in choices)


def test_the_next_engine_gets_the_text_so_far_as_the_beginning_of_its_reply() -> None:
    body = a_broken("One", " two", max_tokens=20).continued_body(2)
    assert body["messages"] == [*MESSAGES, {"role": "assistant", "content": "One two"}]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert body["max_tokens"] == 18


def test_a_reply_that_its_caller_had_begun_is_one_message() -> None:
    begun = [*MESSAGES, {"role": "assistant", "content": "Zero"}]
    body = a_broken(" one", messages=begun, continue_final_message=True).continued_body(1)
    assert body["messages"] == [*MESSAGES, {"role": "assistant", "content": "Zero one"}]


def test_a_text_completion_gets_the_text_behind_its_prompt() -> None:
    ask = an_ask(endpoint="completions", body={"prompt": "Count: "}, max_tokens=16)
    transcript = Transcript(ask)
    transcript.add(a_text_chunk("1 2"))
    body = transcript.continued_body(2)
    assert (body["prompt"], body["max_tokens"]) == ("Count: 1 2", 14)


def test_the_caller_reads_one_stream_with_one_id_and_no_second_role() -> None:
    transcript = a_broken("One")
    data = a_join(transcript).events(
        a_chunk(id="chatcmpl-2") + a_chunk(" two", id="chatcmpl-2") + b"data: [DONE]\n\n"
    )
    (event, done) = data.split(b"\n\n")[:2]
    chunk = orjson.loads(event.removeprefix(b"data: "))
    assert (chunk["id"], chunk["choices"][0]["delta"]) == ("chatcmpl-1", {"content": " two"})
    assert done == b"data: [DONE]"


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [
        (["One", "\n\n"], ["\n\n", "Two"], "One\n\nTwo"),
        (["One", "\n"], ["\n\nTwo"], "One\n\nTwo"),
        (["One", " "], [" two"], "One two"),
        (["One", " "], ["two"], "One two"),
        (["One"], [" two"], "One two"),
    ],
)
def test_white_space_at_the_break_is_neither_lost_nor_doubled(
    before: list[str], after: list[str], whole: str
) -> None:
    transcript = a_broken(*before)
    assert transcript.said == "One"
    join = a_join(transcript)
    assert transcript.text + "".join(said_in(join.events(a_chunk(t))) for t in after) == whole


def test_token_counts_are_those_of_the_whole_reply() -> None:
    transcript = a_broken("One", " two")
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    data = a_join(transcript, tokens_before=2).events(a_chunk("!", usage=usage))
    chunk = orjson.loads(data.removeprefix(b"data: "))
    assert chunk["usage"] == {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function"}]},
        {"logprobs": True},
        {"logprobs": 0},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a+"}},
    ],
)
def test_what_depends_on_the_whole_reply_is_not_continued(body: dict[str, Any]) -> None:
    assert not a_broken("One", **body).is_continuable
    assert a_broken("One", logprobs=False, tools=[]).is_continuable


def test_several_replies_and_thoughts_are_not_continued() -> None:
    assert not Transcript(an_ask(sequences=2)).is_continuable
    thinking = Transcript(an_ask())
    thinking.add(a_chunk("", delta={"reasoning_content": "hm"}))
    assert not thinking.is_continuable


def test_a_reply_that_was_whole_only_lacks_its_end_mark() -> None:
    transcript = a_broken("One", stream_options={"include_usage": True})
    transcript.add(a_chunk("", choice={"finish_reason": "stop"}))
    assert transcript.is_finished
    usage = as_usage(7, 1)
    end = ending(transcript.envelope, is_chat=True, finish_reason=None, usage=usage)
    assert b'"prompt_tokens":7' in end
    assert end.endswith(b"data: [DONE]\n\n")


def test_a_long_stream_is_read_as_it_grows_and_nothing_is_lost() -> None:
    texts = [f" {number}" for number in range(2000)]
    transcript = a_broken(*texts[:1000])
    for text in texts[1000:]:
        transcript.add(a_chunk(text))
    assert transcript.text == "".join(texts)
