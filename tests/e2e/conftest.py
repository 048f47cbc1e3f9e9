"""The embedded models behind the real vLLM engine, both tiers in one application."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from deployments.local_models import prepare
from tests.serving import serving

REPOSITORY = Path(__file__).parents[2]


def local_args() -> dict[str, Any]:
    """The `args` of models.local.yaml, as users get them."""
    file = yaml.safe_load((REPOSITORY / "models.local.yaml").read_text())
    args: dict[str, Any] = file["applications"][0]["args"]
    return args


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    prepare(["smollm2-135m", "smollm2-135m-awq"], print)
    with serving(local_args(), patience_s=600.0) as served_at:
        yield served_at


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{address}/v1", api_key="unused", max_retries=0, timeout=600.0
    ) as sdk:
        yield sdk
