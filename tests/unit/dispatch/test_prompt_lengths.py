"""What takes long to count is counted beside the event loop."""

import threading
from typing import Any

import pytest

from serve_app.dispatch.deciding.prompt_lengths import PromptLengths
from serve_app.prompts import PromptCounter
from tests.unit.builders import an_ask

LONG = "word " * 20_000
CALL = {"type": "function", "function": {"name": "f", "arguments": LONG}}


class ThreadNaming(PromptCounter):
    """Counts nothing and remembers where."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def count(self, body: dict[str, Any]) -> int:
        self.threads.append(threading.current_thread())
        return 1


@pytest.mark.parametrize(
    ("endpoint", "body", "is_long"),
    [
        ("chat", {"messages": [{"role": "user", "content": "Hello"}]}, False),
        ("chat", {"messages": [{"role": "user", "content": LONG}]}, True),
        ("chat", {"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, True),
        ("chat", {"messages": [], "tools": [{"function": {"description": LONG}}]}, True),
        ("completions", {"prompt": "Hello"}, False),
        ("completions", {"prompt": LONG}, True),
        ("completions", {"prompt": [LONG, "Hello"]}, True),
        ("completions", {"prompt": [7] * 50_000}, True),
        ("completions", {"prompt": [[7] * 50_000, [7]]}, True),
    ],
)
async def test_only_short_prompts_are_counted_on_the_loop(
    endpoint: str, body: dict[str, Any], is_long: bool
) -> None:
    counter = ThreadNaming()
    lengths = PromptLengths(["small"], {"small": counter})
    assert await lengths.of(an_ask(endpoint=endpoint, body=body)) == {"small": 1}
    (thread,) = counter.threads
    assert (thread is not threading.main_thread()) == is_long
