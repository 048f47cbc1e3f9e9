"""The embedded models behind the real vLLM engine, both tiers in one application."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from deployments.local_models import prepare
from serve_app.commands.local.instance import Instance
from tests.serving import running_in

REPOSITORY = Path(__file__).parents[2]


def local_args() -> dict[str, Any]:
    """The `args` of models.local.yaml, as users get them."""
    file = yaml.safe_load((REPOSITORY / "models.local.yaml").read_text())
    args: dict[str, Any] = file["applications"][0]["args"]
    return args


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run leaves its files."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def instance(run_dir: Path) -> Iterator[Instance]:
    prepare(["smollm2-135m", "smollm2-135m-awq"], print)
    with running_in(run_dir, local_args(), {}, patience_s=600.0) as served:
        yield served


@pytest.fixture(scope="module")
def address(instance: Instance) -> str:
    return instance.address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{address}/v1", api_key="unused", max_retries=0, timeout=600.0
    ) as sdk:
        yield sdk
