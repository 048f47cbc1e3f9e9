"""The endpoints that tell: models, state, decisions, tokens, health."""

import asyncio
import math
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployments.adapters import adapted
from deployments.messages import Load
from serve_app.access.settings import InputConfig
from serve_app.api.door.guard import key_of
from serve_app.api.generate import read_body
from serve_app.api.parsing.bodies import parse_json
from serve_app.api.parsing.contents.messages import require_messages
from serve_app.api.parsing.fields import boolean, shown
from serve_app.api.parsing.model_names import adapters_listed
from serve_app.api.responses import JsonResponse
from serve_app.api.service import Service
from serve_app.errors import InvalidRequest, TandemError, Unavailable, UnknownModel
from serve_app.prompts import PromptCounter
from serve_app.routing.latency import predict
from serve_app.routing.types import TierView

_LOAD_TIMEOUT_S = 1.0


class UnknownDecision(TandemError):
    status = 404
    code = "decision_not_found"


async def models(request: Request) -> Response:
    """The tiers, their adapters, and the virtual models that let the router choose."""
    service = _service(request)
    tiers = [_tier_card(service, tier) for tier in service.states]
    tiers += _adapter_cards(service).values()
    names = ["auto", *(f"auto:{name}" for name in service.config.slo_classes)]
    cards = tiers + [_virtual_card(service, name) for name in names]
    key = key_of(request)
    if key is not None and key.models is not None:
        cards = [card for card in cards if card["id"] in key.models]
    return JsonResponse({"object": "list", "data": cards})


async def model(request: Request) -> Response:
    """One model's card."""
    service = _service(request)
    name = request.path_params["model"]
    if name in service.states:
        return JsonResponse(_tier_card(service, name))
    if name in (adapters := _adapter_cards(service)):
        return JsonResponse(adapters[name])
    if name == "auto" or name.removeprefix("auto:") in service.config.slo_classes:
        return JsonResponse(_virtual_card(service, name))
    raise UnknownModel(
        f"The model {shown(name)} does not exist. /v1/models lists those that do.", param="model"
    )


async def router_state(request: Request) -> Response:
    """What the router believes of each tier now, beside what one of its replicas says."""
    service = _service(request)
    now = time.monotonic()
    loads = await asyncio.gather(*(_load(service, tier) for tier in service.states))
    tiers = {
        tier: _tier_state(service, tier, load, now)
        for tier, load in zip(service.states, loads, strict=True)
    }
    return JsonResponse(
        {"object": "router.state", "in_flight": service.recorder.num_in_flight, "tiers": tiers}
    )


async def key_usage(request: Request) -> Response:
    """What each API key used: requests and tokens of the last minute, USD of the month."""
    usage = await _service(request).key_usage()
    return JsonResponse({"object": "router.keys", "keys": usage})


async def decision(request: Request) -> Response:
    """Why an ended request went where it went, and how it ended."""
    decision_id = request.path_params["decision_id"]
    recorder = _service(request).recorder
    found = recorder.decision(decision_id)
    if found is None:
        found = await asyncio.to_thread(recorder.logged_decision, decision_id)
    if found is None:
        raise UnknownDecision(
            f"There is no decision {shown(decision_id)} in memory, where this router keeps the "
            f"last {_service(request).config.telemetry.decisions_kept}, nor in the decision log."
        )
    return JsonResponse(found)


async def tokenize(request: Request) -> Response:
    """Token ids of a chat body or a `prompt`, by the named tier's tokenizer."""
    service = _service(request)
    async with service.visits.short(key_of(request)):
        body = parse_json(await read_body(request, service), service.config.input)
        tier = body.get("model")
        if not isinstance(tier, str) or tier not in service.states:
            tier = next(iter(service.states))
        counter = service.readiness.counters.get(tier)
        if counter is None:
            raise Unavailable(f"Tier {tier!r} is still starting. Retry when /readyz answers 200.")
        # In a thread: a prompt of megabytes must not hold up everybody else.
        tokens = await asyncio.to_thread(_tokens, counter, body, service.config.input)
        context = service.readiness.facts[tier]["context_tokens"]
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


async def metrics(request: Request) -> Response:
    """Ray's Prometheus page of the machine this router runs on, with the router's own series."""
    page = await _service(request).metrics_page()
    return Response(page, media_type="text/plain; version=0.0.4")


async def livez(request: Request) -> Response:
    """200 while the process answers."""
    return JsonResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """200 when every tier that should run can serve, else 503 with what is missing."""
    readiness = _service(request).readiness
    status = "ready" if readiness.is_ready else "starting"
    return JsonResponse(
        {"status": status, "tiers": readiness.tiers()},
        status_code=200 if readiness.is_ready else 503,
    )


def _tier_card(service: Service, tier: str) -> dict[str, Any]:
    view = service.states[tier].view(time.monotonic())
    raw = predict(
        view.profile, view.load, prompt_tokens=1, output_tokens=1, sequences=1,
        max_num_seqs=view.max_num_seqs,
    )  # fmt: skip
    step_s = view.calibrator.correction.applied(raw).step_s
    return {
        "id": tier,
        "object": "model",
        "created": 0,
        "owned_by": "tandem",
        "context_length": view.context_tokens or None,
        "status": "ready" if view.is_ready else "starting",
        "quality": view.quality,
        "usd_per_hour": view.usd_per_hour,
        "tokens_per_second": round(1 / step_s, 1) if step_s > 0 else None,
    }


def _adapter_cards(service: Service) -> dict[str, dict[str, Any]]:
    """By name; those that the router can see, loaded or not."""
    return {
        (name := adapted(tier, adapter)): _tier_card(service, tier) | {"id": name, "parent": tier}
        for tier, adapter in adapters_listed(service.config)
    }


def _virtual_card(service: Service, name: str) -> dict[str, Any]:
    slo_class = service.config.slo_classes.get(name.removeprefix("auto:"))
    contexts = [facts["context_tokens"] for facts in service.readiness.facts.values()]
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "tandem",
        "context_length": max(contexts, default=None),
        "slo": slo_class.model_dump(exclude_none=True) if slo_class else None,
    }


def _tier_state(service: Service, tier: str, load: Load | None, now: float) -> dict[str, Any]:
    state = service.states[tier]
    view = state.view(now)
    return {
        "is_ready": view.is_ready,
        "replicas": state.num_replicas,
        "in_flight": state.ledger.num_in_flight,
        "predicted_wait_ms": round(view.load.slot_wait_s * 1000, 1),
        "mean_output_tokens": round(view.lengths.mean_tokens, 1),
        "shadow_price_per_s": round(view.price.per_work_s, 4),
        "profile": {
            "prefill_base_ms": round(view.profile.prefill_base_s * 1000, 3),
            "prefill_per_token_ms": round(view.profile.prefill_per_token_s * 1000, 4),
            "step_base_ms": round(view.profile.step_base_s * 1000, 3),
            "step_per_sequence_ms": round(view.profile.step_per_sequence_s * 1000, 4),
            "is_measured": view.profile.is_measured,
        },
        "learned": _learned(view),
        "engine": load,
    }


def _learned(view: TierView) -> dict[str, Any]:
    """What the outcomes so far made of the raw prediction."""
    correction, error = view.calibrator.correction, view.calibrator.speed_error
    return {
        "prefill_factor": round(math.exp(correction.log_prefill), 4),
        "step_factor": round(math.exp(correction.log_step(view.load.sequences + 1)), 4),
        "fixed_ms": round(correction.fixed_s * 1000, 1),
        "factor": round(math.exp(error.level), 4),
        "log_spread": round(error.spread, 4),
        "observations": error.observations,
        "is_drifting": error.is_drifting,
        "trust": round(view.trust, 3),
    }


async def _load(service: Service, tier: str) -> Load | None:
    """A replica's own numbers; None when it does not answer at once."""
    if not service.states[tier].is_ready:
        return None
    try:
        async with asyncio.timeout(_LOAD_TIMEOUT_S):
            return await service.load(tier)
    except (TimeoutError, TandemError):
        return None


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
