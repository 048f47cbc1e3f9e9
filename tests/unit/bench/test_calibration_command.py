import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.bench.calibration.plots import Series, draw, observed, rolling
from serve_app.cli import app

HEAD = "arrived_at_s,prompt_tokens,output_tokens"


def a_trace(folder: Path, num_requests: int = 1_000) -> Path:
    """Replies are as long as their prompts, give or take."""
    draw = random.Random(1)
    lines, arrived_at_s = [HEAD], 0.0
    for _ in range(num_requests):
        arrived_at_s += draw.expovariate(1.0)
        tokens = draw.choice((8, 32, 128))
        lines.append(f"{arrived_at_s:.3f},{tokens},{max(1, int(tokens * draw.uniform(0.5, 2)))}")
    path = folder / "trace.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["bench", "calibration", *arguments])
    return result.exit_code, result.output


def test_a_trace_gives_a_report_and_the_exit_code_follows_the_targets(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, output = run("--trace", str(a_trace(tmp_path)), "--json", str(report))
    document = json.loads(report.read_text())
    assert document["num_scored"] == document["slow_down"]["num_scored"] == 500
    assert set(document["coverage_by"]) == {"prompt", "length", "load"}
    assert document["pinball"]["tandem"] < document["pinball"]["semantic_router"]
    assert code == (0 if document["is_met"] else 1)
    assert "coverage of the 95 % bound" in output


def test_the_same_trace_gives_the_same_figures(tmp_path: Path) -> None:
    documents = []
    for name in ("one.json", "two.json"):
        run("--trace", str(a_trace(tmp_path)), "--json", str(tmp_path / name))
        document = json.loads((tmp_path / name).read_text())
        documents.append({key: document[key] for key in ("coverage", "pinball", "slow_down")})
    assert documents[0] == documents[1]


def test_a_short_trace_is_refused_with_the_number_that_is_needed(tmp_path: Path) -> None:
    code, output = run("--trace", str(a_trace(tmp_path, num_requests=300)))
    assert code == 1
    assert "trace.csv holds 300 requests; 1000 are needed" in output


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"{HEAD}\n0.0,10,10\n1.0,ten,10\n")
    code, output = run("--trace", str(path))
    assert code == 1
    assert "bad.csv line 3, column prompt_tokens: 'ten'" in output


def test_a_request_beyond_the_engines_window_is_named(tmp_path: Path) -> None:
    path = a_trace(tmp_path)
    path.write_text(path.read_text() + "99999.0,40000,10\n")
    code, output = run("--trace", str(path))
    assert code == 1
    assert "40000 + 10 tokens" in output


def test_a_missing_file_and_neither_mode_are_told(tmp_path: Path) -> None:
    assert run("--trace", str(tmp_path / "none.csv"))[0] == 1
    code, output = run()
    assert code == 1
    assert "either --trace FILE or --live" in output


def test_the_plot_is_an_svg(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = Series(
        "steady", [(0.5, 0.4), (0.95, 0.9)], [True] * 100, [1.0, 2.0], [1.1, 1.9], {50: "x"}
    )
    draw(tmp_path / "plot.svg", [one], "A title")
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")


def test_observed_counts_what_came_within_each_stated_probability() -> None:
    shares = dict(observed([0.1, 0.3, 0.5, 0.7]))
    assert (shares[0.05], shares[0.5], shares[0.95]) == (0.0, 0.75, 1.0)


def test_rolling_coverage_moves_one_reply_at_a_time() -> None:
    points = rolling([False] * 40 + [True] * 40)
    assert points[0] == (40, 0.0)
    assert points[20] == (60, 0.5)
    assert points[-1] == (80, 1.0)
