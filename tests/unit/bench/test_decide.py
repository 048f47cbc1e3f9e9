import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.bench import decide
from serve_app.bench.decide import Traffic, median_quantile_s, memory_growth
from serve_app.cli import app
from serve_app.commands.bench.cost import decide as bench_decide
from serve_app.commands.bench.cost.decide import a_chat_of
from serve_app.prompts import PromptCounter


def test_a_round_times_every_decision_and_keeps_requests_in_flight() -> None:
    traffic = Traffic()
    prepared: list[int] = []
    measured = traffic.round(100, lambda: prepared.append(1))
    assert len(measured.admitted_s) + len(measured.refused_s) == len(prepared) == 100
    assert all(seconds > 0 for seconds in measured.admitted_s)
    assert traffic.num_in_flight > 0


def test_replies_end_and_teach_between_decisions() -> None:
    traffic = Traffic()
    measured = traffic.round(300)
    assert len(measured.finished_s) > 100
    assert any(state.snapshot() for state in traffic.states.values())


def test_the_same_seed_gives_the_same_decisions() -> None:
    one, two = Traffic(seed=3), Traffic(seed=3)
    assert len(one.round(100).admitted_s) == len(two.round(100).admitted_s)
    assert one.num_in_flight == two.num_in_flight


def test_one_disturbed_round_does_not_count() -> None:
    assert median_quantile_s([[1.0, 1.0], [9.0, 9.0], [2.0, 2.0]], 0.99) == 2.0


def test_memory_is_told_after_each_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_NUM_FORECASTS", 20)
    said: list[str] = []
    grown = memory_growth(100, said.append)
    assert len(grown) == len(said) == 10
    assert said[-1] == "100 replies learned"


def test_the_chat_has_about_as_many_tokens_as_asked() -> None:
    counter = a_counter()
    assert 512 <= counter.count(a_chat_of(512, counter)) <= 524


def test_the_report_is_json_and_its_verdict_is_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_decide, "_NUM_WARM_UP", 20)
    monkeypatch.setattr(bench_decide, "_PER_ROUND", 20)
    monkeypatch.setattr(bench_decide, "prepare", lambda names, report: None)
    monkeypatch.setattr(bench_decide, "prompt_counter", lambda folder: a_counter())
    report = tmp_path / "report.json"
    arguments = ["bench", "decide", "--observations", "50", "--json", str(report)]
    result = CliRunner().invoke(app, arguments)
    document = json.loads(report.read_text())
    assert len(document["targets"]) == 4
    assert document["p50_ms"] <= document["p99_ms"]
    assert result.exit_code == (0 if document["is_met"] else 1)


def a_counter() -> PromptCounter:
    """A tokenizer with one token per word."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    return PromptCounter(tokenizer.to_str().encode(), None, {})
