"""Builders of test data: everything has a sensible default, a test names what matters to it."""

from typing import Any

from serve_app.asks import Ask
from serve_app.config import AppConfig
from serve_app.routing.latency import IDLE, LatencyProfile, TierLoad
from serve_app.routing.learning.calibration import Calibrator
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.live.prices import ShadowPrice
from serve_app.routing.types import RoutingRequest, Slo, TierView

FAST = LatencyProfile(0.02, 1e-4, 0.01, 1e-4, is_measured=True)
SLOW = LatencyProfile(0.05, 4e-4, 0.04, 5e-4, is_measured=True)


def a_view(tier: str = "small", **changes: Any) -> TierView:
    defaults: dict[str, Any] = {
        "tier": tier,
        "quality": {"default": 1.0},
        "usd_per_hour": 1.0,
        "context_tokens": 4096,
        "max_num_seqs": 16,
        "profile": FAST,
        "load": IDLE,
        "lengths": OutputLengths(100),
        "calibrator": Calibrator(is_measured=True),
        "price": ShadowPrice(),
    }
    return TierView(**(defaults | changes))


def a_large_view(**changes: Any) -> TierView:
    defaults = {"quality": {"default": 2.0}, "usd_per_hour": 5.0, "profile": SLOW}
    return a_view("large", **(defaults | changes))


def a_request(
    prompt_tokens: int = 512, slo_e2e_ms: float | None = None, **changes: Any
) -> RoutingRequest:
    defaults: dict[str, Any] = {
        "prompt_tokens": {"small": prompt_tokens, "large": prompt_tokens},
        "slo": Slo(e2e_ms=slo_e2e_ms),
        "max_tokens": 100,
        "is_length_fixed": True,
    }
    return RoutingRequest(**(defaults | changes))


def busy(sequences: float = 15, queued_tokens: float = 8000, slot_wait_s: float = 0.0) -> TierLoad:
    return TierLoad(sequences, queued_tokens, slot_wait_s)


def a_config(**changes: Any) -> AppConfig:
    tiers = [
        {"model_loading_config": {"model_id": "small"}, "fake": {}},
        {
            "model_loading_config": {"model_id": "large"},
            "fake": {"step_base_s": 0.04},
            "routing": {"quality": {"default": 2.0}},
        },
    ]
    defaults: dict[str, Any] = {
        "llm_configs": tiers,
        "slo_classes": {
            "whatsapp": {"e2e_ms": 5000, "expected_output_tokens": 313},
            "interactive": {"ttft_ms": 500, "tpot_ms": 50},
        },
    }
    return AppConfig.model_validate(defaults | changes)


def an_ask(request_id: str = "r1", **changes: Any) -> Ask:
    defaults: dict[str, Any] = {
        "request_id": request_id,
        "endpoint": "chat",
        "body": {"messages": [{"role": "user", "content": "Hello there"}]},
        "slo": Slo(),
        "arrived_at_s": 0.0,
        "deadline_s": 60.0,
        "max_tokens": 20,
    }
    return Ask(**(defaults | changes))
