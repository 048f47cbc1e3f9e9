import asyncio
import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from serve_app.bench.client import Address, post
from serve_app.bench.soak import report, scenario
from serve_app.bench.soak.growth import growth
from serve_app.bench.soak.processes import Sample, Trace, Watch, title
from serve_app.bench.soak.run import Soaked, soak
from serve_app.bench.traffic.open_loop import Target
from serve_app.config import AppConfig
from tests.unit.bench.traffic.builders import a_record, an_instant_server

DURATION_S = 3600.0
MACHINE = {"cpu": "a CPU", "cores": 2, "date": "2026-01-01", "load_average_1m": 0.1}


def a_trace(mb_per_hour: float = 0.0, descriptors_per_hour: float = 0.0, until_s: float = 3600.0,
            name: str = "router") -> Trace:  # fmt: skip
    """A look a minute; in the first quarter the process doubles, as caches fill."""
    times_s = [60.0 * minute for minute in range(int(until_s / 60) + 1)]
    return Trace(1, name, [
        Sample(
            at_s,
            int(1e6 * (100 * min(1.0, 0.5 + at_s / 1800) + mb_per_hour * at_s / 3600)),
            int(50 + descriptors_per_hour * at_s / 3600),
            0.1 * at_s,
        )
        for at_s in times_s
    ])  # fmt: skip


def a_soak(*traces: Trace, records: Any = None) -> Soaked:
    steady = [a_record(at_s=60.0 * minute) for minute in range(60)]
    return Soaked(DURATION_S, tuple(records or steady), traces or (a_trace(),))


def missed(soaked: Soaked) -> set[str]:
    grown = [one for one in (growth(t, DURATION_S) for t in soaked.traces) if one]
    return {v.target.name for v in report.verdicts(soaked, grown) if not v.is_met}


def test_growth_is_what_comes_after_the_caches_are_full() -> None:
    grown = growth(a_trace(mb_per_hour=12.0), DURATION_S)
    assert grown is not None
    assert grown.mb_per_hour == pytest.approx(12.0, abs=0.5)
    assert (grown.first_mb, grown.cpu_share) == (50.0, pytest.approx(0.1))
    assert len(grown.by_twelfth_mb) == 12 and grown.by_twelfth_mb[0] < 60 < grown.by_twelfth_mb[-1]


def test_a_process_that_was_hardly_there_has_no_slope() -> None:
    assert growth(a_trace(until_s=120.0), DURATION_S) is None


def test_a_steady_soak_meets_every_target() -> None:
    assert missed(a_soak()) == set()


@pytest.mark.parametrize(
    ("soaked", "name"),
    [
        (a_soak(a_trace(mb_per_hour=200.0)), "steepest memory growth of a process"),
        (a_soak(*[a_trace(mb_per_hour=20.0)] * 4), "memory growth of all processes together"),
        (a_soak(a_trace(descriptors_per_hour=60)), "most file descriptors that a process gained"),
        (a_soak(a_trace(), a_trace(until_s=1800.0)), "processes that ended meanwhile"),
        (a_soak(records=[a_record(status=503), *a_soak().records]), "5xx or no answer"),
        (
            a_soak(records=[a_record(at_s=60.0 * m, e2e_s=1 + m / 15) for m in range(60)]),
            "slowest P90 of a twelfth, against the median one",
        ),
    ],
)
def test_a_missed_target_is_named(soaked: Soaked, name: str) -> None:
    assert name in missed(soaked)


def test_a_time_without_replies_is_the_slowest() -> None:
    assert report.p90_by_window(a_soak(records=[a_record()]))[1:] == [math.inf] * 11


def test_the_report_is_json_and_shows_every_process() -> None:
    soaked = a_soak(a_trace(name="router"), a_trace(name="haproxy"))
    grown = [one for one in (growth(t, DURATION_S) for t in soaked.traces) if one]
    judged = report.verdicts(soaked, grown)
    document = report.as_document(soaked, grown, judged, machine=MACHINE, versions={})
    shown = io.StringIO()
    report.show(judged, json.loads(json.dumps(document)), Console(file=shown, width=120))
    assert "router" in shown.getvalue() and "haproxy" in shown.getvalue()
    assert document["cpu_share_of_one_core"] == pytest.approx(0.2)


def test_real_processes_are_looked_at_and_named_by_what_they_run() -> None:
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    try:
        watch = Watch(lambda: [psutil.Process(child.pid)])
        watch.look()
        watch.look()
        (trace,) = watch.traces
        assert trace.name.startswith("python") and len(trace.samples) == 2
        assert trace.samples[0].uss_bytes > 1e6 and trace.samples[0].descriptors >= 3
    finally:
        child.communicate(b"\n")


def test_a_process_that_ends_between_two_looks_is_no_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    child.wait()
    watch = Watch(lambda: [process])
    watch.look()
    assert watch.traces == []


def test_a_process_is_called_by_its_script() -> None:
    assert title(psutil.Process()).startswith("python") or "pytest" in title(psutil.Process())


def test_a_soak_of_a_real_server_answers_everything(tmp_path: Path) -> None:
    said: list[str] = []
    with an_instant_server(tmp_path) as address:
        target = Target(
            address, lambda asked: post(address, "/", scenario.body_of(asked, is_fake=True))
        )
        soaked = asyncio.run(
            soak(
                target, scenario.asked(40.0, 0.5), Watch(lambda: [psutil.Process()]),
                duration_s=0.5, look_every_s=0.1, say=said.append,
            )
        )  # fmt: skip
    assert [record.status for record in soaked.records] == [200] * 20
    assert len(soaked.traces[0].samples) >= 2


def test_twice_the_capacity_is_asked_by_callers_who_may_be_refused() -> None:
    asked = scenario.overload_of(2.0, 600.0)
    tokens_per_s = sum(request.max_tokens for request in asked) / 600.0
    # 16 slots each: a token every 38 ms and every 68 ms
    assert tokens_per_s == pytest.approx(2.0 * 16 * (1 / 0.038 + 1 / 0.068), rel=0.1)
    body = scenario.body_of(asked[0], is_fake=True, can_be_refused=True)
    assert body["slo"]["on_infeasible"] == "reject"


def test_the_served_file_is_valid_and_a_fake_writes_what_it_may(tmp_path: Path) -> None:
    content = scenario.fake_tiers(Address("h", 1), str(tmp_path))
    config = AppConfig.model_validate(content["applications"][0]["args"])
    assert [tier.model_id for tier in config.llm_configs] == ["small", "large"]
    (asked,) = scenario.asked(1.0, 1.0)
    assert scenario.body_of(asked, is_fake=True)["fake"] == {"output_tokens": asked.max_tokens}
    assert "fake" not in scenario.body_of(asked, is_fake=False)
