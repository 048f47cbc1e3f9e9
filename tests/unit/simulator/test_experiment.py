"""Traces cut, drawn, tuned on and compared on."""

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from serve_app.simulator.experiment.compare import Comparison, compare
from serve_app.simulator.experiment.run import run
from serve_app.simulator.experiment.sweep import Axis, along
from serve_app.simulator.experiment.traffic import (
    Plan,
    Users,
    full_rate_per_s,
    scored_traffic,
    tuning_traffic,
)
from serve_app.simulator.experiment.tuning import tune
from serve_app.simulator.experiment.workload import Parts, drawn, split
from serve_app.simulator.fleet.setting import Disturbances
from serve_app.simulator.policies.catalogue import FORESIGHT, Tuned
from serve_app.simulator.report.document import of_comparison, write_rows
from serve_app.simulator.trace import Request, read_trace
from tests.unit.simulator.settings import a_setting, a_traffic, an_arrival

TRACE = read_trace(Path(__file__).parents[2] / "data/azure_conv_2023_first_half.csv")
SETTING = a_setting()
PARTS = Parts(
    [replace(r, prompt_tokens=min(r.prompt_tokens, 2000)) for r in TRACE[:300]],
    [replace(r, prompt_tokens=min(r.prompt_tokens, 2000)) for r in TRACE[300:600]],
    0,
)
# The rate at load 1 is given, so that it is not looked for in each test.
PLAN = Plan(load=0.6, seeds=(1, 2), requests=100, full_per_s=3.0)


def quietly(_: str) -> None:
    return


def run_both() -> Comparison:
    return compare(("ours", "random"), SETTING, PARTS, PLAN, quietly)


@cache
def compared() -> Comparison:
    return run_both()


def test_a_trace_is_cut_in_time_and_what_fits_no_window_is_left_out() -> None:
    trace = [Request(float(n), 5000 if n == 3 else 1000, 4000) for n in range(11)]
    parts = split(trace, 4096, tuning_share=0.4)
    assert (len(parts.tuning), len(parts.scored), parts.num_left_out) == (4, 6, 1)
    assert parts.tuning[-1].arrived_at_s < parts.scored[0].arrived_at_s
    assert {request.output_tokens for request in parts.tuning} == {3096}


def test_draws_are_stretches_of_the_part_in_another_order() -> None:
    part = TRACE[:2000]
    once, again, other = drawn(part, 1), drawn(part, 1), drawn(part, 2)
    assert once == again
    assert once != other
    assert len(once) == len(part)
    assert {(r.prompt_tokens, r.output_tokens) for r in once} <= {
        (r.prompt_tokens, r.output_tokens) for r in part
    }
    times = [request.arrived_at_s for request in once]
    assert times == sorted(times)


def test_policies_warm_up_on_the_earlier_part_and_are_scored_on_the_later() -> None:
    traffic = scored_traffic(PARTS, SETTING, 2.0, Plan(requests=100), seed=1)
    arrivals = list(traffic.arrivals())
    early = [a for a in arrivals if a.request.arrived_at_s < traffic.scored_from_s]
    assert [a.request.output_tokens for a in early] == [r.output_tokens for r in PARTS.tuning]
    assert len(arrivals) - len(early) == 100


def test_users_come_at_their_own_rate_with_the_traces_lengths() -> None:
    # Given 7,200 users who ask once an hour, which is two a second
    plan = Plan(requests=2000, users=Users(7200, 1.0))
    traffic = scored_traffic(PARTS, SETTING, 2.0, plan, seed=1)
    later = [
        a.request for a in traffic.arrivals() if a.request.arrived_at_s >= traffic.scored_from_s
    ]
    # Then so they come, but for the bursts of the applications they come by
    assert len(later) == 2000
    assert 2000 / (traffic.ends_at_s - traffic.scored_from_s) == pytest.approx(2.0, rel=0.3)
    assert {r.prompt_tokens for r in later} <= {r.prompt_tokens for r in PARTS.scored}


def test_the_same_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("once", "again"):
        write_rows(tmp_path / name, [("load", run_both())])
    assert (tmp_path / "once").read_bytes() == (tmp_path / "again").read_bytes()


def test_every_policy_meets_the_same_requests_and_one_line_tells_each_run(tmp_path: Path) -> None:
    write_rows(tmp_path / "runs.csv", [("load", compared())])
    rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert {(row["policy"], row["seed"]) for row in rows} == {
        (policy, seed)
        for policy in ("ours", "random", "(clairvoyant)", "(work bound)")
        for seed in ("1", "2")
    }
    assert {row["offered"] for row in rows} == {"100"}


def test_the_document_names_what_readers_look_for() -> None:
    said = of_comparison(compared(), ours="ours")
    for policy in ("ours", "random"):
        means = said["policies"][policy]
        assert means["ci"]["attainment"][0] <= means["attainment"] <= means["ci"]["attainment"][1]
        for key in ("goodput_rps", "quality_goodput", "usd_per_1k_good_tokens"):
            assert means[key] > 0
    assert said["clairvoyant"]["quality_goodput"] > 0
    assert set(said["ahead"]) == {"random"}


def test_the_clairvoyant_as_a_policy_is_the_clairvoyant() -> None:
    comparison = compare((FORESIGHT,), SETTING, PARTS, PLAN, quietly)
    assert list(comparison.scores[FORESIGHT]) == list(comparison.clairvoyant)


def test_a_prompt_threshold_is_tuned_to_what_prompts_tell() -> None:
    # Given long prompts with short replies, which alone the large tier can write in time
    arrivals = [
        an_arrival(3.0 * n, 20 if n % 2 else 190, prompt_tokens=1500 if n % 2 else 100, e2e_ms=2000)
        for n in range(60)
    ]
    tuned = tune(["prompt-length"], SETTING, a_traffic(arrivals))
    # Then long prompts go to the large tier
    limit_tokens, is_long_best = tuned.prompt_limit
    assert is_long_best
    assert 100 <= limit_tokens < 1500


def test_what_is_varied_changes_and_nothing_else() -> None:
    changed = {axis: next((s, p) for _, s, p in along(axis, [2.0], SETTING, PLAN)) for axis in Axis}
    assert changed[Axis.load] == (SETTING, replace(PLAN, load=2.0))
    assert changed[Axis.slo][0].classes[0].slo.e2e_ms == 2000
    assert changed[Axis.staleness][0].disturbances == Disturbances(staleness_s=2.0)
    assert changed[Axis.drift][0].disturbances == Disturbances(slow_down=2.0)
    assert changed[Axis.large][0].replicas == {"small": 1, "large": 2}
    assert changed[Axis.small][0].replicas == {"small": 2, "large": 1}


def test_a_slow_down_in_the_middle_and_an_old_load_make_replies_later() -> None:
    # Given the same requests, and one world where engines become twice as slow
    slower = replace(SETTING, disturbances=Disturbances(slow_down=2.0))
    plan = replace(PLAN, seeds=(1,))
    steady, slowed = (
        compare(["always-small"], one, PARTS, plan, quietly).scores["always-small"][0]
        for one in (SETTING, slower)
    )
    # Then replies take longer there
    assert slowed.e2e_s["p50"] > 1.2 * steady.e2e_s["p50"]


def test_deadlines_out_of_reach_are_said_to_be() -> None:
    with pytest.raises(ValueError, match="even when idle"):
        full_rate_per_s(PARTS, a_setting(e2e_ms=5))


def test_a_trace_that_is_in_time_all_at_once_has_no_load_one() -> None:
    few = Parts(short := [Request(float(n), 100, 50) for n in range(8)], short, 0)
    with pytest.raises(ValueError, match="longer trace"):
        full_rate_per_s(few, a_setting(e2e_ms=600_000))


def test_load_one_is_the_most_that_the_clairvoyant_serves() -> None:
    # Given requests that idle tiers serve one and all
    parts = Parts(short := [Request(float(n), 100, 50) for n in range(100)], short, 0)
    full_per_s = full_rate_per_s(parts, SETTING)
    # When they come at load 1, then it serves 0.95 of them, and less of a few more
    shares = [
        run(FORESIGHT, SETTING, Tuned(), tuning_traffic(parts, SETTING, factor * full_per_s))
        for factor in (1.0, 1.1)
    ]
    assert shares[0].attainment >= 0.95 > shares[1].attainment
