"""`tandem bench load` against a real server process; locust is the real one."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serve_app.bench.client import Address
from serve_app.bench.traffic.records import read_records
from serve_app.cli import app
from tests.serving import free_port
from tests.unit.bench.traffic.builders import an_instant_server

TRACE = "arrived_at_s,prompt_tokens,output_tokens\n0,800,80\n1,400,40\n4,800,160\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with an_instant_server(tmp_path_factory.mktemp("server")) as address:
        yield address


def run(folder: Path, address: Address, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output, and the report where there is one."""
    report = folder / "report.json"
    url = f"http://{address.host}:{address.port}"
    done = CliRunner().invoke(app, ["bench", "load", "--url", url, "--json", str(report), *options])
    return done.exit_code, done.output, json.loads(report.read_text()) if report.exists() else {}


def missed(report: dict[str, Any]) -> set[str]:
    """Targets that were missed; that of the load tool's own lateness depends on the machine."""
    names = {target["name"] for target in report["targets"] if not target["is_met"]}
    return names - {"load tool's own lateness, p99"}


def test_a_constant_rate_is_offered_and_scored(tmp_path: Path, server: Address) -> None:
    records = tmp_path / "out.jsonl"
    _, _, report = run(
        tmp_path, server, "--rate", "50", "--seconds", "0.4", "--usd-per-hour", "0.9",
        "--records", str(records),
    )  # fmt: skip
    assert not missed(report)
    assert report["attainment"] == 1.0 and report["statuses"] == {"200": 20}
    # 20 replies of 8 + 16 tokens
    assert report["usd_per_1k_tokens"] == pytest.approx(
        0.9 / (20 * 24 / 1e3 / report["busy_s"] * 3600), rel=1e-3
    )
    gaps = [b.at_s - a.at_s for a, b in pairwise(read_records(records))]
    assert gaps == pytest.approx([0.02] * 19)


def test_a_trace_is_replayed(tmp_path: Path, server: Address) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(TRACE)
    _, output, report = run(tmp_path, server, "--trace", str(trace), "--rate", "20")
    assert not missed(report) and report["offered"] == 3
    # Three requests at 20 per second, however long it might have gone on
    assert report["goodput_per_s"] == pytest.approx(20.0)
    assert "in the bursts of the trace" in output


def test_users_wait_for_their_reply_and_are_locusts(tmp_path: Path, server: Address) -> None:
    records = tmp_path / "out.jsonl"
    code, output, report = run(
        tmp_path, server, "--users", "2", "--pace-s", "0.25", "--seconds", "1",
        "--records", str(records),
    )  # fmt: skip
    assert code == 0, output
    assert report["failures"] == 0 and report["shares"] == {"fake": 1.0}
    # Each user's own requests are due a pace apart, however long they took
    due_s = sorted(record.at_s for record in read_records(records))
    assert len(due_s) >= 4
    assert due_s[2] - due_s[0] == pytest.approx(0.25, abs=0.1)


def test_an_attainment_that_is_too_low_fails(tmp_path: Path, server: Address) -> None:
    code, _, report = run(
        tmp_path, server, "--rate", "50", "--seconds", "0.1", "--slo-ms", "1",
        "--attainment", "1", "--scale", "1",
    )  # fmt: skip
    assert ("replies in time" in missed(report)) is (report["attainment"] < 1.0)
    assert code == (0 if report["is_met"] else 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Give --rate, --users or --trace"),
        (("--rate", "1", "--users", "1"), "a closed loop has no rate"),
        (("--trace", "/nowhere.csv"), "nowhere.csv"),
    ],
)
def test_bad_options_are_explained(
    options: tuple[str, ...], said: str, tmp_path: Path, server: Address
) -> None:
    code, output, report = run(tmp_path, server, *options)
    assert code == 1 and said in output and not report


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    nowhere = Address("127.0.0.1", free_port())
    code, output, _ = run(tmp_path, nowhere, "--rate", "1")
    assert code == 1 and f"127.0.0.1:{nowhere.port}" in output and "is it running?" in output
