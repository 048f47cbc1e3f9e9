"""One `model` name says tier or choice, class and adapter."""

from pathlib import Path
from typing import Any

import pytest

from serve_app.api.parsing.model_names import Named, read_model_name
from serve_app.config import AppConfig
from serve_app.errors import UnknownModel
from tests.unit.deployments.builders import an_adapter


def a_config(folder: Path | str) -> AppConfig:
    """A tier with adapters in `folder`, and one without any."""
    lora = {"dynamic_lora_loading_path": str(folder)}
    tiers: list[Any] = [
        {"model_loading_config": {"model_id": "small"}, "lora_config": lora, "fake": {}},
        {"model_loading_config": {"model_id": "large"}, "fake": {}},
    ]
    return AppConfig.model_validate({"llm_configs": tiers, "slo_classes": {"chat": {"e2e_ms": 5}}})


@pytest.mark.parametrize(("name", "means"), [
    (None, Named()),
    ("auto", Named()),
    ("auto:chat", Named(slo_class="chat")),
    ("large", Named(pinned_tier="large")),
    ("small:support", Named("small", None, "support", frozenset({"small"}))),
    ("auto+support", Named(adapter="support", tiers=frozenset({"small"}))),
    ("auto:chat+support", Named(None, "chat", "support", frozenset({"small"}))),
])  # fmt: skip
def test_a_name_means_what_it_says(tmp_path: Path, name: str | None, means: Named) -> None:
    an_adapter(tmp_path, "support")
    assert read_model_name(name, a_config(tmp_path)) == means


@pytest.mark.parametrize("name", ["medium", "large:support", "auto+suport", "autos", 7])
def test_a_name_that_means_nothing_is_a_404(tmp_path: Path, name: object) -> None:
    an_adapter(tmp_path, "support")
    with pytest.raises(UnknownModel):
        read_model_name(name, a_config(tmp_path))


def test_an_adapter_that_appears_later_is_found(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with pytest.raises(UnknownModel):
        read_model_name("auto+new", config)
    an_adapter(tmp_path, "new")
    assert read_model_name("auto+new", config).tiers == {"small"}


@pytest.mark.parametrize("place", ["s3://bucket/adapters", "/a/folder/of/another/node"])
def test_where_the_router_cannot_look_the_tier_may_have_it(place: str) -> None:
    assert read_model_name("auto+any", a_config(place)).tiers == {"small"}


@pytest.mark.parametrize("name", ["small:", "small:../x", "auto+a/b", "small:" + "a" * 1000])
def test_what_no_adapter_can_be_called_never_reaches_a_tier(name: str) -> None:
    with pytest.raises(UnknownModel) as error:
        read_model_name(name, a_config("s3://bucket/adapters"))
    assert len(error.value.message) < 1000
