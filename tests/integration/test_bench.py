"""`tandem bench load` and `tandem bench soak` with the real application: Ray, HAProxy, HTTP."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.bench.traffic.records import read_records
from serve_app.cli import app
from tests.serving import free_port


def test_a_load_is_scored_by_tier_slo_and_price(address: str, tmp_path: Path) -> None:
    # Given the small tier at 1 $ an hour and the large one at 2
    report, records = tmp_path / "report.json", tmp_path / "records.jsonl"
    # When a constant rate is offered that both can carry
    CliRunner().invoke(app, [
        "bench", "load", "--url", address, "--rate", "5", "--seconds", "2", "--slo-ms", "30000",
        "--records", str(records), "--json", str(report),
    ])  # fmt: skip
    # Then each reply is in time, from the tier that the router chose
    document = json.loads(report.read_text())
    assert document["attainment"] == 1.0
    assert set(document["shares"]) <= {"small", "large"}
    worth = {"small": 1.0, "large": 2.0}
    weighted = sum(worth[tier] * share for tier, share in document["shares"].items())
    assert document["quality_goodput_per_s"] == pytest.approx(weighted * 5.0, rel=1e-3)
    assert {record.status for record in read_records(records)} == {200}
    # And the machines cost what the tiers say of themselves
    assert document["usd_per_hour"] == 3.0 and document["usd_per_1k_tokens"] > 0


def test_a_soak_watches_every_process_of_what_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    report = tmp_path / "report.json"
    CliRunner().invoke(app, [
        "bench", "soak", "--minutes", "0.15", "--rate", "5", "--port", str(free_port()),
        "--json", str(report),
    ])  # fmt: skip
    # Ten seconds say nothing of slopes: the exit code is not asked for
    document = json.loads(report.read_text())
    assert document["statuses"] == {"200": 45} and document["failures"] == 0
    names = " ".join(process["name"] for process in document["processes"])
    for role in ("haproxy", "raylet", "tandem:router", "tandem:tier-small", "tandem:tier-large"):
        assert role in names
