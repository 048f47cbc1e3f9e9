"""What a text costs: token ids by a tier's own tokenizer."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serve_app.access.settings import InputConfig
from serve_app.api.door.guard import key_of
from serve_app.api.generate import read_body
from serve_app.api.parsing.bodies import parse_json
from serve_app.api.parsing.contents.messages import require_messages
from serve_app.api.parsing.fields import boolean
from serve_app.api.parsing.model_names import read_model_name
from serve_app.api.responses import JsonResponse
from serve_app.api.service import service_of
from serve_app.errors import InvalidRequest, Unavailable
from serve_app.prompts import PromptCounter


async def tokenize(request: Request) -> Response:
    """Token ids of a chat body or a `prompt`, by the named tier's tokenizer; the first one's where
    the router is to choose.
    """
    service = service_of(request)
    async with service.visits.short(key_of(request)):
        body = parse_json(await read_body(request, service), service.config.input)
        named = read_model_name(body.get("model"), service.config)
        tier = named.pinned_tier or next(iter(service.states))
        counter = service.readiness.counters.get(tier)
        facts = service.readiness.facts.get(tier)
        if counter is None or facts is None:
            raise Unavailable(f"Tier {tier!r} is still starting. Retry when /readyz answers 200.")
        # In a thread: a prompt of megabytes must not hold up everybody else.
        tokens = await asyncio.to_thread(_tokens, counter, body, service.config.input)
        context = facts["context_tokens"]
        return JsonResponse(
            {"count": len(tokens), "max_model_len": context, "tokens": tokens, "model": tier}
        )


def _tokens(counter: PromptCounter, body: dict[str, Any], limits: InputConfig) -> list[int]:
    if body.get("messages") is not None:
        require_messages(body, limits)
        return counter.chat(body)
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise InvalidRequest("prompt or messages: one of them is required.", param="prompt")
    has_special = body.get("add_special_tokens") is None or boolean(body, "add_special_tokens")
    return counter.encode(prompt, add_special_tokens=has_special)
