import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deployments.spec import TierSpec
from serve_app.bench.client import Address
from serve_app.bench.comparison import figures, report
from serve_app.bench.comparison.contenders import Contender, Stand, always, by_length
from serve_app.bench.comparison.threshold import balanced
from serve_app.bench.comparison.turns import Folder, Plan, Turn, missing, rotated, take
from serve_app.bench.peers.bare_vllm import command
from serve_app.bench.peers.litellm_tiers import ALONE, AUTO, tiered
from serve_app.bench.peers.ray_serve_llm import ray_serve_llm
from serve_app.simulator.trace import Request
from tests.unit.bench.traffic.builders import a_record, an_asked, an_instant_server

NOWHERE = Address("127.0.0.1", 1)
MACHINE = {"cpu": "a CPU", "cores": 2, "date": "2026-01-01", "load_average_1m": 0.1}
SETTINGS = {"rounds": 2, "requests": 4, "rate_per_s": 1.0, "scale": 0.1, "trace": "t.csv"}


def a_contender(key: str, address: Address = NOWHERE) -> Contender:
    return Contender(key, key.title(), address, always("auto"), "small", 0.15)


def a_stand(*keys: str, serve: Callable[[], Any] | None = None) -> Stand:
    return Stand("+".join(keys), serve or nothing, tuple(a_contender(key) for key in keys))


@contextmanager
def nothing() -> Iterator[None]:
    yield


def a_turn(key: str, round: int = 1, probe_s: float = 0.1, e2e_s: float = 1.0,
           model: str = "small") -> Turn:  # fmt: skip
    records = tuple(a_record(at_s=float(i), e2e_s=e2e_s, model=model) for i in range(4))
    return Turn(round, key, (probe_s,) * 3, records)


def rows(*turns: Turn) -> list[figures.Row]:
    contenders = [a_contender(key) for key in dict.fromkeys(turn.key for turn in turns)]
    return figures.rows(turns, contenders, reference="bare", duration_s=4.0, quality={"large": 2.0})


def test_each_gets_every_place_once() -> None:
    stands = [a_stand("a"), a_stand("b", "c", "d"), a_stand("e")]
    orders = [[stand.name for stand in rotated(stands, round)] for round in (1, 2, 3)]
    assert [sorted(place) for place in zip(*orders, strict=True)] == [["a", "b+c+d", "e"]] * 3
    first = [
        next(s for s in rotated(stands, round) if len(s.contenders) == 3).contenders[0].key
        for round in (1, 2, 3)
    ]
    assert first == ["b", "c", "d"]


def test_only_what_is_missing_is_measured(tmp_path: Path) -> None:
    folder, stands = Folder(tmp_path), [a_stand("a"), a_stand("b", "c")]
    plan = Plan((), (), rounds=2)
    folder.keep(a_turn("a"))
    folder.keep(a_turn("b"))
    left = [(round, stand.name) for round, stand in missing(stands, plan, folder)]
    assert left == [(1, "b+c"), (2, "b+c"), (2, "a")]


def test_turns_come_back_as_they_were_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.keep(a_turn("a", round=2))
    assert folder.has(2, "a") and not folder.has(1, "a")
    assert folder.read(2, "a") == a_turn("a", round=2)


def test_turns_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.agree({"rate_per_s": 1.0})
    folder.agree({"rate_per_s": 1.0})
    with pytest.raises(ValueError, match=r"rate_per_s 1\.0, now 2\.0.*another --out"):
        folder.agree({"rate_per_s": 2.0})


def test_a_turn_is_taken_from_a_real_server(tmp_path: Path) -> None:
    # Given a contender that answers at once
    with an_instant_server(tmp_path) as address:
        stand = Stand("instant", nothing, (a_contender("a", address),))
        plan = Plan(tuple(an_asked(index=i, at_s=0.01 * i) for i in range(5)), (an_asked(),), 1)
        said: list[str] = []
        # When its turn is taken
        take(1, stand, plan, Folder(tmp_path), said.append)
    # Then every request is kept, and what an idle engine needs for a token
    turn = Folder(tmp_path).read(1, "a")
    assert [record.status for record in turn.records] == [200] * 5
    assert len(turn.probes_s) == 20 and len(said) == 2


def test_the_threshold_leaves_as_much_work_below_as_above() -> None:
    lengths = [Request(0.0, tokens, 10) for tokens in (10, 20, 30, 40, 100)]
    # 20 + 30 + 40 + 50 of 250 tokens
    assert balanced(lengths) == 40


def test_a_length_threshold_sends_short_prompts_to_the_one_and_long_ones_to_the_other() -> None:
    route = by_length(100, shorter="large", longer="small")
    assert [route(an_asked(prompt_tokens=n)) for n in (100, 101)] == ["large", "small"]


def test_overhead_is_what_a_token_takes_beyond_the_engine_alone_in_the_same_round() -> None:
    turns = [a_turn("bare", 1, 0.1), a_turn("bare", 2, 0.2)]
    turns += [a_turn("ours", 1, 0.11), a_turn("ours", 2, 0.24)]
    ours = rows(*turns)[1].by_measure["overhead_ms"]
    assert (ours.median, ours.least, ours.most) == pytest.approx((25, 10, 40))


def test_medians_and_ranges_are_over_rounds() -> None:
    (row,) = rows(a_turn("bare", 1), a_turn("bare", 2, e2e_s=9.0), a_turn("bare", 3))
    assert row.by_measure["attainment"] == figures.Spread(1.0, 0.0, 1.0)


def test_where_a_peer_wins_it_is_said_first_and_with_both_figures() -> None:
    # Given a peer that is slower and better
    compared = rows(
        a_turn("bare"), a_turn("ours", e2e_s=2.0), a_turn("peer", e2e_s=3.0, model="large")
    )
    sentences = report.lost(compared, "ours")
    assert "Peer is ahead in quality /s: 2.00 against 1.00" in sentences
    assert not any("attainment" in sentence for sentence in sentences)
    # And the report begins with it
    about = {"machine": MACHINE, "versions": {}, "settings": SETTINGS}
    document = report.as_document(compared, "ours", **about)
    shown = io.StringIO()
    report.show(compared, json.loads(json.dumps(document)), Console(file=shown, width=160))
    assert shown.getvalue().startswith(sentences[0])


def test_litellm_routes_all_tiers_and_falls_back_on_each() -> None:
    settings = tiered({"small": NOWHERE, "large": Address("127.0.0.1", 2)})
    groups = [entry["model_name"] for entry in settings["model_list"]]
    ids = [entry["model_info"]["id"] for entry in settings["model_list"]]
    assert groups == [AUTO, AUTO, "small", "large"]
    assert ids == ["small", "large", f"small{ALONE}", f"large{ALONE}"]
    assert settings["router_settings"]["fallbacks"] == [{AUTO: ["small", "large"]}]


def test_ray_serve_llm_gets_the_same_engines_and_nothing_of_ours(tmp_path: Path) -> None:
    config = {
        "model_loading_config": {"model_id": "m", "model_source": str(tmp_path)},
        "engine_kwargs": {"max_model_len": 512},
        "routing": {"quality": {"default": 2.0}},
    }
    ours = {"import_path": "serve_app.app:build",
            "args": {"llm_configs": [config], "slo_classes": {}}}  # fmt: skip
    content = ray_serve_llm({"applications": [ours]}, NOWHERE)
    (application,) = content["applications"]
    assert application["import_path"] == "ray.serve.llm:build_openai_app"
    assert set(application["args"]) == {"llm_configs", "ingress_deployment_config"}
    (kept,) = application["args"]["llm_configs"]
    assert kept == {key: value for key, value in config.items() if key != "routing"}


def test_ray_serve_llms_cpu_engines_get_cores_of_their_own(tmp_path: Path) -> None:
    # Given two CPU tiers of which each has so many threads, one of them bound already
    def tier(**variables: str) -> dict[str, Any]:
        return {
            "model_loading_config": {"model_id": "m", "model_source": str(tmp_path)},
            "runtime_env": {"env_vars": variables},
        }

    tiers = [tier(OMP_NUM_THREADS="2"), tier(OMP_NUM_THREADS="1"),
             tier(OMP_NUM_THREADS="1", VLLM_CPU_OMP_THREADS_BIND="7")]  # fmt: skip

    # When they are served by Ray's own application, whose vLLM binds them
    content = ray_serve_llm({"applications": [{"args": {"llm_configs": tiers}}]}, NOWHERE)

    # Then no two have the same core
    configs = content["applications"][0]["args"]["llm_configs"]
    cores = [c["runtime_env"]["env_vars"]["VLLM_CPU_OMP_THREADS_BIND"] for c in configs]
    assert cores == ["0-1", "2", "7"]


def test_bare_vllm_runs_a_cpu_tier_as_tandem_does(tmp_path: Path) -> None:
    # Given tiers on a CPU, of which only the first leaves its one worker's threads to the kernel
    def words(kind: str, workers: int = 1, **variables: str) -> tuple[str, ...]:
        loading = {"model_id": "m", "model_source": str(tmp_path)}
        tier = TierSpec(
            model_loading_config=loading, accelerator_config={"kind": kind},
            engine_kwargs={"tensor_parallel_size": workers}, runtime_env={"env_vars": variables},
            routing={"usd_per_hour": 1.0},
        )  # fmt: skip
        return command(tier, NOWHERE, tmp_path / "log").arguments

    # Then only that one, and none on a GPU, is told to stay in one process
    asked = [
        words("cpu"), words("cpu", workers=2), words("cpu", VLLM_CPU_OMP_THREADS_BIND="0"),
        words("gpu"),
    ]  # fmt: skip
    told = ["--distributed-executor-backend" in one for one in asked]
    assert told == [True, False, False, False]
