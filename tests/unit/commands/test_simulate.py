"""`tandem simulate`, called as a user does."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from serve_app.commands.simulation.command import simulate
from tests.unit.simulator.test_decisions import an_entry

CONFIG = """
applications:
- name: tandem
  import_path: serve_app.app:build
  args:
    llm_configs:
    - model_loading_config: {model_id: small}
      fake: {prefill_per_token_s: 0.0001, step_base_s: 0.01, max_num_seqs: 8}
      routing: {quality: {default: 1.0}, usd_per_hour: 1.0}
    - model_loading_config: {model_id: large}
      fake: {prefill_per_token_s: 0.0004, step_base_s: 0.03, max_num_seqs: 8}
      routing: {quality: {default: 1.5}, usd_per_hour: 4.0}
    slo_classes:
      bot: {e2e_ms: 3000, on_infeasible: degrade}
      talk: {ttft_ms: 500}
    routing: {default_slo_class: bot}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tandem.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    rows = [f"{0.4 * n:.1f},{100 + 37 * (n % 11)},{20 + 13 * (n % 7)}" for n in range(240)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["arrived_at_s,prompt_tokens,output_tokens", *rows]) + "\n")
    return path


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(simulate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_document_is_keyed_by_policy_and_files_lie_in_the_folder(
    config: Path, trace: Path, tmp_path: Path
) -> None:
    # When two policies are compared
    out, path = tmp_path / "out", tmp_path / "report.json"
    said = run(
        "--config", config, "--trace", trace, "--policies", "ours,prompt-length", "--seeds", "2",
        "--requests", "60", "--out", out, "--json", path,
    )  # fmt: skip
    # Then the document has what each is worth, and what the clairvoyant reached
    assert said.exit_code == 0, said.output
    document: dict[str, Any] = json.loads(path.read_text())
    for policy in ("ours", "prompt-length"):
        means = document["policies"][policy]
        assert {
            "attainment", "goodput_rps", "quality_goodput", "usd_per_1k_good_tokens", "ci",
        } <= set(means)  # fmt: skip
    assert document["clairvoyant"]["quality_goodput"] > 0
    # And there is a line per run, and a picture
    rows = (out / "runs.csv").read_text().splitlines()
    assert len(list(csv.DictReader(rows))) == 2 * (2 + 2)
    assert (out / "policies.svg").read_text().startswith("<?xml")
    assert "prompt-length" in said.output


def test_a_sweep_tells_each_value(config: Path, trace: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    said = run(
        "--config", config, "--trace", trace, "--policies", "ours", "--seeds", "1", "--requests",
        "50", "--sweep", "slo", "--values", "1,4", "--json", path,
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    sweep = json.loads(path.read_text())["sweep"]
    assert [one["value"] for one in sweep] == [1.0, 4.0]
    assert sweep[0]["rate_per_s"] < sweep[1]["rate_per_s"]


def test_a_sweep_of_one_value_is_told_without_a_line_through_it(
    config: Path, trace: Path, tmp_path: Path
) -> None:
    out, path = tmp_path / "out", tmp_path / "report.json"
    said = run(
        "--config", config, "--trace", trace, "--policies", "ours", "--seeds", "1", "--requests",
        "50", "--sweep", "load", "--values", "0.75", "--out", out, "--json", path,
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert json.loads(path.read_text())["policies"]["ours"]
    assert (out / "runs.csv").is_file()


def test_a_decision_log_is_replayed_at_another_price(config: Path, tmp_path: Path) -> None:
    # Given a log of a server that sent everything to the large tier
    log, costs = tmp_path / "log.jsonl", []
    log.write_text("".join(json.dumps(an_entry(3.0 * n)) + "\n" for n in range(30)) + '{"torn')
    # When it is replayed at two prices
    for price in ("2", "4"):
        path = tmp_path / f"{price}.json"
        said = run(
            "--config", config, "--decisions", log, "--policies", "ours,always-small", "--seeds",
            "1", "--price", f"small={price}", "--json", path,
        )  # fmt: skip
        assert said.exit_code == 0, said.output
        document = json.loads(path.read_text())
        costs.append(document["policies"]["always-small"]["usd_per_1k_good_tokens"])
    # Then what the server reached is told, and the bill is another one
    assert document["decisions"]["recorded"]["attainment"] == 1.0
    assert costs[1] / costs[0] == pytest.approx((4 + 4) / (2 + 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policies", "best"], "'best': best is no policy; there are always-small, always-large"),
        (["--slo-class", "gold"], "'gold' is none of the file's slo_classes ['bot', 'talk']"),
        (["--slo-class", "talk"], "'talk' has no e2e_ms"),
        (["--price", "huge=1"], "--price names the tier 'huge'; the file has small, large"),
        (["--price", "small=cheap"], "'small=cheap' is not TIER=USD"),
        (["--fail", "small"], "'small' is not TIER@SECOND:DURATION"),
        (["--fail", "tiny@1:2"], "--fail names the tier 'tiny'; the file has small, large"),
        (["--sweep", "slo", "--values", "a,b"], "'a,b' are no numbers"),
        (["--decisions", "log"], "either --trace FILE or --decisions LOG"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_right(
    config: Path, trace: Path, arguments: list[str], message: str
) -> None:
    said = run("--config", config, "--trace", trace, *arguments)
    assert said.exit_code == 1
    assert message in said.output.replace("\n", " ")
