"""What the router believes, decided and counted; for operators."""

import asyncio
import math
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployments.messages import Load
from serve_app.api.parsing.fields import shown
from serve_app.api.responses import JsonResponse
from serve_app.api.service import Service, service_of
from serve_app.errors import TandemError
from serve_app.routing.types import TierView

_LOAD_TIMEOUT_S = 1.0


class UnknownDecision(TandemError):
    status = 404
    code = "decision_not_found"


async def router_state(request: Request) -> Response:
    """What the router believes of each tier now, beside what one of its replicas says."""
    service = service_of(request)
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
    usage = await service_of(request).key_usage()
    return JsonResponse({"object": "router.keys", "keys": usage})


async def decision(request: Request) -> Response:
    """Why an ended request went where it went, and how it ended."""
    decision_id = request.path_params["decision_id"]
    recorder = service_of(request).recorder
    found = recorder.decision(decision_id)
    if found is None:
        found = await asyncio.to_thread(recorder.logged_decision, decision_id)
    if found is None:
        raise UnknownDecision(
            f"There is no decision {shown(decision_id)} in memory, where this router keeps the "
            f"last {service_of(request).config.telemetry.decisions_kept}, nor in the decision log."
        )
    return JsonResponse(found)


def _tier_state(service: Service, tier: str, load: Load | None, now: float) -> dict[str, Any]:
    state = service.states[tier]
    view, signal = state.view(now), state.signal(now)
    return {
        "is_ready": view.is_ready,
        "replicas": state.num_replicas,
        "in_flight": state.ledger.num_in_flight,
        "predicted_wait_ms": round(view.load.slot_wait_s * 1000, 1),
        "mean_output_tokens": round(view.lengths.mean_tokens, 1),
        "wanted": {
            "outstanding": round(signal.outstanding, 2),
            "kept_out": round(signal.kept_out, 2),
            "fits_per_replica": round(signal.fits, 2),
        },
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
