"""What the engine is asked: calls from the handle in, Ray Serve LLM's requests out."""

import random
from typing import Any

from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest

from deployments.events import with_usage
from deployments.messages import EngineCall


def engine_request(call: EngineCall, *, is_streamed: bool, has_priorities: bool) -> Any:
    """The call as the engine takes it.

    Args:
        has_priorities: the engine's queue is ordered by them; any other refuses them.

    Raises:
        pydantic.ValidationError: the body is not OpenAI's.
    """
    body = call["body"] | {"stream": is_streamed, "request_id": call["request_id"]}
    if has_priorities:
        body["priority"] = call["priority"]
    if is_streamed:
        body = with_usage(body)
    schema = ChatCompletionRequest if call["endpoint"] == "chat" else CompletionRequest
    return schema.model_validate(body)


def probe_request(model_id: str, prompt_tokens: int, output_tokens: int) -> Any:
    """For one reply of exactly these lengths, of random tokens so that no prefix is cached."""
    return CompletionRequest(
        model=model_id,
        prompt=[random.randrange(100, 1000) for _ in range(prompt_tokens)],
        max_tokens=output_tokens,
        min_tokens=output_tokens,
        ignore_eos=True,
        temperature=0.0,
    )


def trace_of(call: EngineCall) -> Any:
    """The trace headers as Ray's engine takes them; None for an untraced request."""
    if not call["headers"]:
        return None
    # Imported here: Ray has no public name for it, and only traced requests need it.
    from ray.llm._internal.serve.core.protocol import RawRequestInfo

    return RawRequestInfo(headers=call["headers"])
