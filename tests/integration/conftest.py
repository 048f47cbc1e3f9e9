"""One application of two fake tiers for all integration tests: real Ray, HAProxy, HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.serving import serving

# A whole reply of 64 tokens takes 0.7 s on the small tier and 2 s on the large one.
SMALL = {"prefill_base_s": 0.02, "step_base_s": 0.01, "output_tokens": 64}
LARGE = {"prefill_base_s": 0.05, "step_base_s": 0.03, "output_tokens": 64}


def a_tier(model_id: str, quality: float, timing: dict[str, Any]) -> dict[str, Any]:
    return {
        "model_loading_config": {"model_id": model_id},
        "routing": {"quality": {"default": quality}, "usd_per_hour": quality},
        "fake": timing,
    }


@pytest.fixture(scope="package")
def address() -> Iterator[str]:
    args = {
        "llm_configs": [a_tier("small", 1.0, SMALL), a_tier("large", 2.0, LARGE)],
        "slo_classes": {"whatsapp": {"e2e_ms": 5000, "expected_output_tokens": 64}},
        "admission": {"max_body_bytes": 100_000},
    }
    with serving(args) as served_at:
        yield served_at


@pytest.fixture(scope="package")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30.0) as client:
        yield client


@pytest.fixture(scope="package")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0) as sdk:
        yield sdk


def a_body(**changes: Any) -> dict[str, Any]:
    message = {"role": "user", "content": "What is the capital of France?"}
    return {"model": "auto", "messages": [message], "max_tokens": 64} | changes
