"""Adapters over real Ray: addressed by name, loaded on demand, called where they are loaded."""

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import LARGE, SMALL, a_body, a_tier
from tests.serving import serving
from tests.unit.deployments.builders import an_adapter

NAMES = ("support", "billing", "legal")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    for name in NAMES:
        an_adapter(folder, name)
    return folder


@pytest.fixture(scope="module")
def http(folder: Path) -> Iterator[httpx.Client]:
    """A small tier of two replicas with two places for adapters each, and one without any."""
    lora = {"dynamic_lora_loading_path": str(folder), "max_num_adapters_per_replica": 2}
    small = a_tier("small", 1.0, SMALL | {"output_tokens": 2})
    small |= {"lora_config": lora, "deployment_config": {"num_replicas": 2}}
    tiers = [small, a_tier("large", 2.0, LARGE | {"output_tokens": 2})]
    args = {
        "llm_configs": tiers,
        "slo_classes": {"chat": {"e2e_ms": 5000}},
        # On, as users have it: each decision is told in words.
        "telemetry": {"decision_log": True, "decision_log_folder": str(folder.parent / "log")},
    }
    with serving(args) as address, httpx.Client(base_url=address, timeout=30.0) as client:
        yield client


def ask(http: httpx.Client, model: str) -> httpx.Response:
    return http.post("/v1/chat/completions", json=a_body(model=model, max_tokens=2))


def test_an_adapter_of_a_tier_answers_under_its_own_name(http: httpx.Client) -> None:
    reply = ask(http, "small:support")
    assert reply.json()["model"] == "small:support"
    assert reply.headers["x-router-selected-model"] == "small"


@pytest.mark.parametrize("model", ["auto+billing", "auto:chat+billing"])
def test_the_router_chooses_among_the_tiers_that_have_the_adapter(
    http: httpx.Client, model: str
) -> None:
    # The large tier is better and meets the objective as well; it has no adapters.
    assert ask(http, model).json()["model"] == "small:billing"


def test_adapters_are_listed_beside_the_tiers(http: httpx.Client) -> None:
    cards = {card["id"]: card for card in http.get("/v1/models").json()["data"]}
    assert {f"small:{name}" for name in NAMES} <= cards.keys()
    assert cards["small:support"]["parent"] == "small"
    assert http.get("/v1/models/small:support").json()["id"] == "small:support"
    counted = http.post("/tokenize", json={"model": "small:support", "prompt": "one two"}).json()
    assert counted["model"] == "small"


def test_an_unknown_adapter_is_a_404_that_names_those_there_are(http: httpx.Client) -> None:
    reply = ask(http, "small:suport")
    assert reply.status_code == 404
    assert "support" in reply.json()["error"]["message"]


def test_calls_go_to_the_replica_that_has_the_adapter(http: httpx.Client) -> None:
    # Given an adapter that one replica has loaded
    home = ask(http, "small:legal").json()["system_fingerprint"]

    # When it is asked for again, with others between
    replicas = set()
    for _ in range(10):
        ask(http, "small")
        replicas.add(ask(http, "small:legal").json()["system_fingerprint"])

    # Then the other replica never loads it
    assert replicas == {home}


def test_calls_of_a_new_adapter_all_go_where_the_first_one_went(
    http: httpx.Client, folder: Path
) -> None:
    # Given adapters that no replica has loaded
    for i in range(5):
        an_adapter(folder, f"fresh-{i}")

    # When each is asked for several times at once, before news of the first call can be back
    homes = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for i in range(5):
            replies = pool.map(lambda model: ask(http, model), [f"small:fresh-{i}"] * 4)
            homes.append({reply.json()["system_fingerprint"] for reply in replies})

    # Then one replica loaded it
    assert [len(home) for home in homes] == [1] * 5


def test_more_adapters_than_places_are_all_answered(http: httpx.Client, folder: Path) -> None:
    # Given six adapters on four places, half of them new since the tier started
    models = [f"small:{name}" for name in (*NAMES, *(f"new-{i}" for i in range(3)))]
    for model in models[3:]:
        an_adapter(folder, model.removeprefix("small:"))

    # When all are asked for at once, five times each
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda model: (model, ask(http, model)), models * 5))

    # Then each answered under its name
    assert [reply.status_code for _, reply in replies] == [200] * len(replies)
    assert all(reply.json()["model"] == model for model, reply in replies)
