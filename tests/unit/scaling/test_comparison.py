"""Ways to scale against each other, in simulated time."""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from serve_app.bench.autoscaling.actuator import Actuator
from serve_app.bench.autoscaling.compare import SHAPES, dominated_by
from serve_app.bench.autoscaling.run import NAMES, ROUTER_SIGNAL, ROUTER_SIGNAL_TO_ZERO
from serve_app.bench.autoscaling.wishes import ByOngoingRequests, ByTtft
from serve_app.commands.bench.gain.autoscaling import autoscaling
from serve_app.scaling.budget import TierFleet
from serve_app.simulator.fleet.plans import Scaling
from serve_app.simulator.policies.blind import Always
from serve_app.simulator.policies.catalogue import as_router
from tests.unit.commands.test_simulate import CONFIG
from tests.unit.scaling.builders import a_fleet
from tests.unit.simulator.settings import SMALL, a_setting, a_tier, a_world, an_arrival, played


@dataclass
class Wanted:
    """Two replicas for a minute and a half, then none."""

    def at(
        self, now: float, fleets: Mapping[str, TierFleet], ongoing: Mapping[str, int]
    ) -> Mapping[str, int]:
        return {"small": 2 if now < 90.0 else 0}


def test_what_is_wanted_comes_after_its_delay_and_start_and_is_paid_for() -> None:
    # Given a tier whose second replica takes ten seconds to be believed and thirty to start
    setting = a_setting(a_tier("small", SMALL, 1.0))
    world = a_world(setting, as_router(Always("small"), setting))
    bounds = Scaling(0, 4, 2.0, upscale_delay_s=10.0, downscale_delay_s=20.0, cold_start_s=30.0)
    Actuator(world, Wanted(), {"small": bounds}, {"small": 1}).start()
    # When two minutes pass
    played(world, [an_arrival(0.0), an_arrival(150.0)])
    # Then it was paid for from its order at 10 s until both went at 110 s
    paid_s = [member.paid_s(0.0, 150.0) for member in world.fleet.paid]
    assert paid_s == pytest.approx([110.0, 100.0], abs=2.0)
    assert world.fleet.serving["small"] == []


def test_ongoing_requests_are_judged_by_their_mean() -> None:
    wishes = ByOngoingRequests({"small": 2.0})
    assert wishes.at(0.0, {}, {"small": 8}) == {"small": 4}
    assert wishes.at(1.0, {}, {"small": 0}) == {"small": 2}


def test_a_ttft_above_its_target_asks_for_one_replica_more() -> None:
    wishes = ByTtft(1.0, {"slow": deque([(9.0, 1.2)]), "fast": deque([(9.0, 0.1)])})
    fleets = {"slow": a_fleet(2), "fast": a_fleet(2)}
    assert wishes.at(10.0, fleets, {}) == {"slow": 3, "fast": 1}


def test_the_command_compares_all_ways_on_both_loads(tmp_path: Path) -> None:
    # Given two fake tiers and lengths
    config, trace, out = (tmp_path / name for name in ("tandem.yaml", "trace.csv", "out.json"))
    config.write_text(CONFIG)
    rows = [f"{0.4 * n:.1f},{100 + 37 * (n % 11)},{20 + 13 * (n % 7)}" for n in range(240)]
    trace.write_text("\n".join(["arrived_at_s,prompt_tokens,output_tokens", *rows]) + "\n")
    # When they are offered more than one replica serves
    app = typer.Typer()
    app.command()(autoscaling)
    arguments = ["--config", str(config), "--trace", str(trace), "--json", str(out)]
    answer = CliRunner().invoke(app, [*arguments, "--minutes", "5", "--rate", "4"])
    # Then the report has every way on either load, and says whether one is better than ours
    document = json.loads(out.read_text())
    assert {shape: tuple(ways) for shape, ways in document["traffic"].items()} == dict.fromkeys(
        SHAPES, NAMES
    )
    assert document["traffic"]["diurnal"][ROUTER_SIGNAL]["most_accelerators"] > 2
    assert answer.exit_code == (0 if document["is_met"] else 1)


def test_a_way_is_better_only_when_it_is_at_everything() -> None:
    ours = {"attainment": 0.9, "quality_goodput": 2.0, "accelerator_hours": 3.0}
    cheaper = ours | {"accelerator_hours": 2.0}
    better = {"attainment": 0.95, "quality_goodput": 2.1, "accelerator_hours": 2.9}
    to_zero = {ROUTER_SIGNAL_TO_ZERO: better}
    assert dominated_by({ROUTER_SIGNAL: ours, "a": cheaper, "b": better} | to_zero) == ["b"]
