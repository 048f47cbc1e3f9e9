import io
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from deployments.spec import TierSpec
from serve_app.bench.client import Address
from serve_app.bench.overhead import engine, router
from serve_app.bench.overhead.measures import Measure, Samples, Target
from serve_app.bench.overhead.report import as_document, show
from serve_app.bench.overhead.turns import Method, Outcome, Part, Say, Server, run_part
from serve_app.bench.peers import litellm
from serve_app.bench.peers.bare_vllm import flags
from serve_app.config import AppConfig

TANDEM, REFERENCE = Address("127.0.0.1", 1), Address("127.0.0.1", 2)
MACHINE = {
    "cpu": "a CPU", "cores": 2, "memory_gib": 1.0, "load_average_1m": 0.0, "date": "2026-01-01",
}  # fmt: skip


def a_part(log: list[str], latency_ms: dict[Address, float]) -> Part:
    def server(name: str, address: Address) -> Server:
        @contextmanager
        def serve() -> Iterator[Address]:
            log.append(f"{name} starts")
            try:
                yield address
            finally:
                log.append(f"{name} stops")

        return Server(name, serve)

    async def take(address: Address, say: Say) -> Samples:
        say("measured")
        return {"x": [latency_ms[address]]}

    measure = Measure("x", "latency", "ms", (Target("ratio", "at most", 1.10),))
    return Part(
        "engine", server("Tandem", TANDEM), server("reference", REFERENCE),
        Method((measure,), take, num_steps=1),
    )  # fmt: skip


def an_outcome(tandem_ms: float) -> Outcome:
    return run_part(a_part([], {TANDEM: tandem_ms, REFERENCE: 100.0}), lambda _: None)


def test_tandem_is_measured_between_two_turns_of_the_reference_and_never_beside_it() -> None:
    log: list[str] = []
    run_part(a_part(log, {TANDEM: 1.0, REFERENCE: 1.0}), lambda _: None)
    order = ["reference", "Tandem", "reference"]
    assert log == [f"{name} {what}" for name in order for what in ("starts", "stops")]


def test_a_part_says_as_many_steps_as_it_announces() -> None:
    said: list[str] = []
    part = a_part([], {TANDEM: 1.0, REFERENCE: 1.0})
    run_part(part, said.append)
    assert len(said) == part.num_steps


@pytest.mark.parametrize(("tandem_ms", "word"), [(105.0, "met"), (120.0, "missed")])
def test_the_table_tells_the_ratio_the_target_and_the_verdict(tandem_ms: float, word: str) -> None:
    outcome, text = an_outcome(tandem_ms), io.StringIO()
    document = as_document([outcome], MACHINE, {"ray": "2"}, 20_000.0)
    show([outcome], document, Console(file=text, width=120))
    for part in (f"{tandem_ms / 100:.2f}x", "≤ 1.10x", word, "ray 2"):
        assert part in text.getvalue()


def test_the_document_is_json_and_holds_the_verdict() -> None:
    document = as_document([an_outcome(120.0)], MACHINE, {}, 20_000.0)
    assert json.loads(json.dumps(document)) == document
    assert document["is_met"] is False
    [measure] = document["parts"][0]["measures"]
    assert (measure["ratio"], measure["is_met"]) == (1.2, False)


def test_a_target_is_written_with_its_unit() -> None:
    assert Target("value", "at least", 500.0).text("req/s") == "≥ 500 req/s"
    assert Target("ratio", "at most", 1.1).text("ms") == "≤ 1.10x"


def test_the_bare_server_gets_the_tiers_own_arguments() -> None:
    given = {"dtype": "bfloat16", "enforce_eager": True, "enable_prefix_caching": False}
    wanted = ["--dtype", "bfloat16", "--enforce-eager", "--no-enable-prefix-caching"]
    assert flags(given) == wanted


def test_tandem_serves_only_the_cheapest_tier_of_the_file() -> None:
    content = router.instant_tiers(Address("127.0.0.1", 8000))
    tiers = content["applications"][0]["args"]["llm_configs"]
    tier = engine.cheapest(tuple(TierSpec.model_validate(config) for config in tiers))
    only = engine.one_tier(content, tier, TANDEM)
    assert only["http_options"] == {"host": "127.0.0.1", "port": 1}
    assert only["applications"][0]["args"]["llm_configs"] == [tiers[0]]
    assert len(content["applications"][0]["args"]["llm_configs"]) == 2


def test_the_instant_tiers_are_a_valid_configuration() -> None:
    content = router.instant_tiers(TANDEM)
    config = AppConfig.model_validate(content["applications"][0]["args"])
    assert [tier.model_id for tier in config.llm_configs] == ["small", "large"]


def test_prompts_differ_from_their_first_words_on() -> None:
    beginnings = {" ".join(engine.prompt(seed).split()[:12]) for seed in range(1_000)}
    assert len(beginnings) == 1_000


def test_litellm_routes_by_latency_over_every_backend() -> None:
    config = litellm.configuration([Address("127.0.0.1", 5), Address("127.0.0.1", 6)])
    bases = [model["litellm_params"]["api_base"] for model in config["model_list"]]
    assert bases == ["http://127.0.0.1:5/v1", "http://127.0.0.1:6/v1"]
    assert config["router_settings"]["routing_strategy"] == "latency-based-routing"


def test_litellms_release_is_read_from_its_pins() -> None:
    assert litellm.version().startswith("1.")
