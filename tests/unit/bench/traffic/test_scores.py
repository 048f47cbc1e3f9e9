import json
import math
from pathlib import Path

import pytest

from serve_app.bench.traffic.records import read_records, write_records
from serve_app.bench.traffic.scores import Scores, scores, usd_per_1k_tokens
from tests.unit.bench.traffic.builders import a_record


def scored(*records: object) -> Scores:
    return scores(records, duration_s=10.0, quality={"large": 2.0})  # type: ignore[arg-type]


def test_time_counts_from_when_a_request_was_due_not_from_when_it_was_sent() -> None:
    # Given a load tool that was 4 s late because the server was slow
    record = a_record(at_s=1.0, e2e_s=6.0, sent_s=5.0)
    # Then the server's 2 s are not the truth
    assert record.e2e_s == 6.0 and record.late_s == 4.0 and not record.is_in_time


def test_attainment_is_of_all_that_was_offered() -> None:
    figures = scored(a_record(), a_record(e2e_s=9.0), a_record(status=429), a_record(status=None))
    assert figures.attainment == 0.25
    assert figures.goodput_per_s == 0.1
    assert figures.failures == 1
    assert figures.statuses == {"200": 2, "429": 1, "no answer": 1}


def test_a_reply_weighs_as_much_as_the_model_that_wrote_it_is_good() -> None:
    figures = scored(a_record(), a_record(model="large"), a_record(model="large", e2e_s=9.0))
    assert figures.quality_goodput_per_s == pytest.approx(0.3)
    assert figures.shares == {"small": pytest.approx(1 / 3), "large": pytest.approx(2 / 3)}


def test_who_got_no_reply_waited_for_ever() -> None:
    assert scored(*[a_record()] * 9, a_record(status=503)).p90_e2e_s == 1.0
    figures = scored(*[a_record()] * 8, *[a_record(status=503)] * 2)
    assert figures.p50_e2e_s == 1.0 and figures.p90_e2e_s == math.inf
    assert json.dumps(scored(a_record(status=503)).as_document()).count("null") == 3


def test_throughput_counts_prompt_and_reply_until_the_last_one_was_whole() -> None:
    figures = scored(a_record(), a_record(at_s=9.0, e2e_s=3.0))
    assert figures.tokens_per_s == pytest.approx(2 * 120 / 12)
    assert figures.output_tokens_per_s == pytest.approx(2 * 20 / 12)


def test_cost_is_the_price_of_an_hour_over_thousands_of_tokens_an_hour() -> None:
    # 100 requests of 120 tokens in a minute are 720,000 tokens an hour
    assert usd_per_1k_tokens(0.72, tokens=12_000, duration_s=60) == pytest.approx(0.001)
    assert usd_per_1k_tokens(0.72, tokens=0, duration_s=60) == math.inf


def test_nothing_offered_is_no_score() -> None:
    with pytest.raises(ValueError, match="no request was offered"):
        scored()


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    records = [a_record(), a_record(at_s=0.25, status=None, model=None)]
    write_records(tmp_path / "out.jsonl", records)
    assert read_records(tmp_path / "out.jsonl") == records


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(a_record().line + '{"index": 1}\n')
    with pytest.raises(ValueError, match=r"out.jsonl line 2.*delete the file"):
        read_records(path)
