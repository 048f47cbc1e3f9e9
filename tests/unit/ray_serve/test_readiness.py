"""When the router calls itself ready, and when it has tiers measured."""

from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from deployments.messages import TierFacts
from serve_app.errors import Unavailable
from serve_app.ray_serve.readiness import Readiness
from serve_app.routing.live.facts import TierSettings
from serve_app.routing.live.state import TierState
from tests.unit.builders import FAST

PROFILE = {
    "prefill_base_s": 0.01,
    "prefill_per_token_s": 0.001,
    "step_base_s": 0.02,
    "step_per_sequence_s": 0.001,
}


class TierInMemory:
    def __init__(self, name: str, calls: list[str]) -> None:
        self._name = name
        self._calls = calls
        self.is_silent = False

    async def describe(self) -> TierFacts:
        self._calls.append(f"describe {self._name}")
        if self.is_silent:
            raise Unavailable("gone")
        return _facts(None)

    async def measure(self) -> TierFacts:
        self._calls.append(f"measure {self._name}")
        return _facts(PROFILE)


def _facts(profile: Any) -> TierFacts:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    return {
        "model_id": "x", "context_tokens": 100, "max_num_seqs": 4, "max_num_batched_tokens": 100,
        "tokenizer_json": tokenizer.to_str().encode(), "chat_template": None, "special_tokens": {},
        "profile": profile, "fingerprint": "f", "engine": "none",
    }  # fmt: skip


class Bench:
    def __init__(self, may_sleep: frozenset[str] = frozenset()) -> None:
        self.calls: list[str] = []
        self.replicas: dict[str, int] = {}
        self.is_controller_away = False
        names = ("small", "large")
        states = {
            name: TierState(
                TierSettings(name, {"default": 1.0}, 1.0, 0, None, FAST), default_output_tokens=9
            )
            for name in names
        }
        self.tiers = {name: TierInMemory(name, self.calls) for name in names}
        self.readiness = Readiness(self.tiers, states, self._count, may_sleep)

    async def _count(self) -> dict[str, int]:
        if self.is_controller_away:
            raise ConnectionError("no controller")
        return self.replicas


async def test_nothing_is_ready_before_a_replica_runs() -> None:
    bench = Bench()
    await bench.readiness.refresh()
    assert not bench.readiness.is_ready
    assert bench.calls == []


async def test_a_tier_is_not_measured_while_another_one_starts() -> None:
    bench = Bench()
    bench.replicas = {"small": 1}
    await bench.readiness.refresh()
    assert bench.readiness.tiers() == {"small": "measuring", "large": "starting"}
    assert bench.calls == ["describe small"]


async def test_tiers_are_measured_one_after_the_other_once_all_run() -> None:
    bench = Bench()
    bench.replicas = {"small": 1, "large": 1}
    await bench.readiness.refresh()
    assert bench.calls == ["describe small", "describe large", "measure small", "measure large"]
    assert bench.readiness.is_ready


async def test_who_runs_already_is_met_without_waiting_for_measurements() -> None:
    bench = Bench()
    bench.replicas = {"small": 1}
    await bench.readiness.meet()
    assert bench.calls == ["describe small"]
    assert set(bench.readiness.counters) == {"small"}


async def test_a_controller_that_is_away_keeps_no_router_from_starting() -> None:
    bench = Bench()
    bench.is_controller_away = True
    await bench.readiness.meet()
    assert not bench.readiness.is_ready


async def test_a_tier_that_may_sleep_holds_nothing_back() -> None:
    bench = Bench(may_sleep=frozenset({"large"}))
    bench.replicas = {"small": 1}
    await bench.readiness.refresh()
    assert bench.readiness.is_ready


async def test_a_tier_that_loses_its_replicas_is_no_longer_ready() -> None:
    bench = Bench()
    bench.replicas = {"small": 1, "large": 1}
    await bench.readiness.refresh()
    bench.replicas = {"small": 1, "large": 0}
    await bench.readiness.refresh()
    assert not bench.readiness.is_ready


async def test_a_tier_of_which_nothing_is_said_runs_on() -> None:
    # As while Serve builds another version, and after that failed.
    bench = Bench()
    bench.replicas = {"small": 1, "large": 1}
    await bench.readiness.refresh()
    bench.replicas = {}
    await bench.readiness.refresh()
    assert bench.readiness.is_ready


async def test_a_tier_that_comes_back_and_does_not_answer_yet_is_starting() -> None:
    # Given a tier that was ready and has lost all its replicas
    bench = Bench()
    for bench.replicas in ({"small": 1, "large": 1}, {"small": 1, "large": 0}):
        await bench.readiness.refresh()
    # When a new one is counted that does not say what it is
    bench.replicas, bench.tiers["large"].is_silent = {"small": 1, "large": 1}, True
    await bench.readiness.refresh()
    # Then the tier is no more than starting, until it does
    assert bench.readiness.tiers() == {"small": "ready", "large": "starting"}
    assert not bench.readiness.is_ready
    bench.tiers["large"].is_silent = False
    await bench.readiness.refresh()
    assert bench.readiness.is_ready
