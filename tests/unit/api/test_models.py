"""Which names have a card."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from serve_app.api.telling.models import model
from serve_app.errors import UnknownModel
from tests.unit.builders import a_config


def asked_for(name: str) -> Request:
    service = SimpleNamespace(config=a_config(), states={}, readiness=SimpleNamespace(facts={}))
    scope: dict[str, Any] = {
        "type": "http", "app": SimpleNamespace(state=SimpleNamespace(service=service)),
        "path_params": {"model": name},
    }  # fmt: skip
    return Request(scope)


@pytest.mark.parametrize("name", ["auto", "auto:whatsapp"])
async def test_what_can_be_asked_for_has_a_card(name: str) -> None:
    assert f'"id":"{name}"'.encode() in bytes((await model(asked_for(name))).body)


@pytest.mark.parametrize("name", ["whatsapp", "auto:", "auto:none", "gpt-4o"])
async def test_what_cannot_be_asked_for_has_none(name: str) -> None:
    with pytest.raises(UnknownModel):
        await model(asked_for(name))
