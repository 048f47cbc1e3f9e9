"""Server-sent events between engine and handle: joins what is ready, finds the token counts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

import orjson

from deployments.messages import Usage

T = TypeVar("T")

DONE = "data: [DONE]\n\n"
_FAILURE = 'data: {"error"'


async def coalesced(source: AsyncGenerator[T, None]) -> AsyncGenerator[list[T], None]:
    """Yields the first item at once, then whatever has become ready meanwhile, as one list.

    A hop through the handle costs about as much as a decode step on a fast tier; without this,
    a slow consumer would pay it once per token. Closing it closes the source.
    """
    ready: list[T] = []
    wake = asyncio.Event()

    async def pump() -> None:
        async with aclosing(source):
            async for item in source:
                ready.append(item)
                wake.set()

    task = asyncio.create_task(pump())
    task.add_done_callback(lambda _: wake.set())
    try:
        while True:
            await wake.wait()
            wake.clear()
            if ready:
                batch = ready.copy()
                ready.clear()
                yield batch
            if task.done() and not ready:
                task.result()
                return
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def with_usage(body: dict[str, Any]) -> dict[str, Any]:
    """The body, asking the engine for token counts at the end of its stream."""
    options = body.get("stream_options") or {}
    return body | {"stream_options": {**options, "include_usage": True}}


def wants_usage(body: dict[str, Any]) -> bool:
    """True when the caller asked for the counts and is to see them."""
    return bool((body.get("stream_options") or {}).get("include_usage"))


def sifted(
    events: list[str], *, is_usage_wanted: bool
) -> tuple[bytes, Usage | None, dict[str, Any] | None]:
    """What is in some events of vLLM's stream.

    Returns:
        Those for the caller as one write, without the end mark and without counts that nobody
        asked for; the counts; and vLLM's own error, behind which nothing is passed on.
    """
    # Only the end mark comes after the counts.
    usage = usage_of(events[-1]) or usage_of(events[-2 % len(events)])
    passed, failure = _until_failure(events)
    shown = (
        event for event in passed if event != DONE and (is_usage_wanted or usage_of(event) is None)
    )
    return "".join(shown).encode(), usage, failure


def usage_of(event: str) -> Usage | None:
    """The counts, when this event is the one that carries only them."""
    if '"choices":[]' not in event or '"usage"' not in event:
        return None
    return as_usage(orjson.loads(event.removeprefix("data: ")).get("usage"))


def as_usage(usage: dict[str, Any] | None) -> Usage | None:
    """Prompt and completion tokens of an OpenAI `usage` object."""
    if not usage:
        return None
    return {
        "prompt_tokens": int(usage.get("prompt_tokens", 0)),
        "completion_tokens": int(usage.get("completion_tokens") or 0),
    }


def _until_failure(events: list[str]) -> tuple[list[str], dict[str, Any] | None]:
    """The events before vLLM's own error event, and that error; None when there is none."""
    for index, event in enumerate(events):
        if event.startswith(_FAILURE):
            error: dict[str, Any] = orjson.loads(event.removeprefix("data: "))["error"]
            return events[:index], error
    return events, None
