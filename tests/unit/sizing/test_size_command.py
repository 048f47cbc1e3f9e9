"""`tandem size`, called as a user does."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from serve_app.cli import app

MODELS = Path("models.yaml")


def run(*arguments: str | Path) -> Result:
    common = ["size", "--config", MODELS, "--class", "whatsapp"]
    return CliRunner().invoke(app, [str(a) for a in (*common, *arguments)])


def test_an_answer_is_simulated_and_stands_beside_hosted_prices(tmp_path: Path) -> None:
    # When a few users are sized for
    path = tmp_path / "size.json"
    said = run(
        "--users", "20000", "--accelerators", "A6000,H100", "--per-replica", "1", "--check-s",
        "10", "--json", path,
    )  # fmt: skip
    # Then the fleet's attainment is that of a simulation, not below what is asked
    assert said.exit_code == 0, said.output
    document = json.loads(path.read_text())
    assert document["simulated"]["attainment"] >= document["demand"]["attainment"] == 0.95
    assert document["simulated"]["requests"] > 50
    # And every machine has its limit, the fleet its replicas and its price
    assert all(option["limit"] for option in document["options"])
    assert document["fleet"]["parts"][0]["replicas"] >= 1
    assert document["cost"]["per_month"] == pytest.approx(document["fleet"]["usd_per_hour"] * 730)
    assert {one["as_of"] for one in document["hosted"]}
    assert "Buy " in said.output


def test_where_nothing_is_feasible_it_says_what_would_be(tmp_path: Path) -> None:
    path = tmp_path / "size.json"
    said = run("--users", "1000", "--output-tokens", "3000", "--per-replica", "1", "--json", path)
    assert said.exit_code == 1
    document = json.loads(path.read_text())
    assert document["fleet"] is None and not document["is_met"]
    assert "even when idle" in document["why_not"][0]
    assert "feasible would be" in document["why_not"][1]


def test_a_quality_that_no_tier_in_time_has_is_refused() -> None:
    said = run("--users", "1000", "--min-quality", "99")
    assert said.exit_code == 1
    assert "reaches quality 99" in said.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accelerators", "B300"], "--accelerators names 'B300'; known are A6000"),
        (["--accelerators", "L4"], "No price is known of 'L4': give --price L4=USD"),
        (["--price", "A6000"], "--price 'A6000' is not NAME=USD"),
        (["--per-replica", "0"], "--per-replica '0': a replica needs at least 1"),
        (["--class", "gold"], "'gold' is none of the file's slo_classes"),
        (["--class", "interactive"], "'interactive' has no e2e_ms"),
        (["--prices", "no.yaml"], "no.yaml"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_right(arguments: list[str], message: str) -> None:
    said = run("--users", "1000", *arguments)
    assert said.exit_code == 1
    assert message in said.output.replace("\n", " ")
