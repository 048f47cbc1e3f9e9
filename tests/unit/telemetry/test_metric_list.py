"""The metrics page says what the metrics are."""

from pathlib import Path

from serve_app.telemetry.metric_list import metric_list


def test_the_metrics_page_is_what_the_code_exports() -> None:
    page = Path("docs/metrics.md").read_text()
    command = "python -m serve_app.telemetry.metric_list > docs/metrics.md"
    assert page == metric_list(), f"run: {command}"
