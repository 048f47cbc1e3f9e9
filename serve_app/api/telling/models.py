"""What can be asked for: tiers, their adapters, and the names that let the router choose."""

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployments.adapters import adapted
from serve_app.api.door.guard import key_of
from serve_app.api.parsing.fields import shown
from serve_app.api.parsing.model_names import adapters_listed
from serve_app.api.responses import JsonResponse
from serve_app.api.service import Service, service_of
from serve_app.errors import UnknownModel
from serve_app.routing.latency import predict


async def models(request: Request) -> Response:
    """The tiers, their adapters, and the virtual models that let the router choose."""
    service = service_of(request)
    tiers = [_tier_card(service, tier) for tier in service.states]
    tiers += _adapter_cards(service).values()
    cards = tiers + [_virtual_card(service, name) for name in _virtual_names(service)]
    key = key_of(request)
    if key is not None and key.models is not None:
        cards = [card for card in cards if card["id"] in key.models]
    return JsonResponse({"object": "list", "data": cards})


async def model(request: Request) -> Response:
    """One model's card; what a key may not use does not exist for it, as in the list."""
    service = service_of(request)
    name, key = request.path_params["model"], key_of(request)
    if key is None or key.models is None or name in key.models:
        if name in service.states:
            return JsonResponse(_tier_card(service, name))
        if name in (adapters := _adapter_cards(service)):
            return JsonResponse(adapters[name])
        if name in _virtual_names(service):
            return JsonResponse(_virtual_card(service, name))
    raise UnknownModel(
        f"The model {shown(name)} does not exist. /v1/models lists those that do.", param="model"
    )


def _virtual_names(service: Service) -> list[str]:
    return ["auto", *(f"auto:{name}" for name in service.config.slo_classes)]


def _tier_card(service: Service, tier: str) -> dict[str, Any]:
    view = service.states[tier].view(time.monotonic())
    raw = predict(
        view.profile, view.load, prompt_tokens=1, output_tokens=1, sequences=1,
        max_num_seqs=view.max_num_seqs,
    )  # fmt: skip
    step_s = view.calibrator.correction.speeds().applied(raw).step_s
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
