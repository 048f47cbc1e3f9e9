"""What survives a restart, and what must not."""

import json

import pytest

from serve_app.routing.latency import LatencyProfile
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.facts import EngineFacts, Outcome, TierSettings
from serve_app.routing.live.ledger import Work
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest, Slo
from tests.unit.builders import FAST, SLOW

FACTS = EngineFacts(FAST, 4096, 16, "fingerprint-1")


def a_state(facts: EngineFacts | None = FACTS, tier: str = "small", quality: float = 1.0,
            profile: LatencyProfile = FAST) -> TierState:  # fmt: skip
    settings = TierSettings(tier, {"default": quality}, 1.0, 0, None, profile)
    state = TierState(settings, default_output_tokens=100)
    state.num_replicas = 1
    if facts is not None:
        state.engine_started(facts)
    return state


def a_taught_state() -> TierState:
    """One whose replies took thrice the prediction and were 30 tokens long."""
    state = a_state()
    chooser = Chooser({"small": state}, objective="best_quality_within_slo", max_outstanding_s=60)
    request = RoutingRequest({"small": 100}, Slo())
    for second in range(100):
        now = float(second)
        candidate = chooser.admit(request, chooser.decide(request, now=now), now=now)
        chooser.start(str(second), request, candidate, now=now)
        took_s = 3 * candidate.forecast.raw.e2e_s(30)
        outcome = Outcome(took_s, 30)
        chooser.finish(str(second), request, candidate, outcome, now=now + took_s)
    return state


def predicted_s(state: TierState) -> float:
    chooser = Chooser({"small": state}, objective="best_quality_within_slo", max_outstanding_s=60)
    decision = chooser.decide(RoutingRequest({"small": 100}, Slo()), now=200.0)
    assert decision.selected is not None
    return decision.selected.e2e_s


def test_a_restart_keeps_what_was_learned() -> None:
    # Given what a state learned, as it is written to disk
    taught = a_taught_state()
    kept = json.loads(json.dumps(taught.snapshot()))
    # When a new router restores it before its engine is known
    restarted = a_state(facts=None)
    restarted.restore(kept)
    restarted.engine_started(FACTS)
    # Then it predicts the same
    assert predicted_s(restarted) == pytest.approx(predicted_s(taught), rel=0.01)
    assert predicted_s(a_state()) != pytest.approx(predicted_s(taught), rel=0.2)


@pytest.mark.parametrize(
    "facts",
    [
        EngineFacts(FAST, 4096, 16, "another-engine"),
        EngineFacts(SLOW, 4096, 16, "fingerprint-1"),
        EngineFacts(FAST, 8192, 16, "fingerprint-1"),
    ],
)
def test_a_changed_engine_starts_afresh(facts: EngineFacts) -> None:
    restarted = a_state(facts=None)
    restarted.restore(a_taught_state().snapshot() or {})
    restarted.engine_started(facts)
    fresh = a_state(facts)
    assert predicted_s(restarted) == predicted_s(fresh)


def test_a_running_engine_that_is_replaced_by_another_is_learned_again() -> None:
    state = a_taught_state()
    state.engine_started(EngineFacts(FAST, 4096, 16, "another-engine"))
    assert state.lengths.mean_tokens > 60
    assert state.calibrator.speed_error.observations == 0


@pytest.mark.parametrize("part", ["calibrator", "lengths"])
def test_a_damaged_snapshot_is_ignored(part: str) -> None:
    damaged = (a_taught_state().snapshot() or {}) | {part: {"counts": "?", "squares": 1}}
    restarted = a_state()
    restarted.restore(damaged)
    assert predicted_s(restarted) == predicted_s(a_state())


def test_a_state_without_an_engine_has_nothing_to_keep() -> None:
    assert a_state(facts=None).snapshot() is None


def test_long_silence_brings_the_priors_band_back() -> None:
    state = a_taught_state()
    assert state.view(200.0).trust == 1.0
    assert state.view(2000.0).trust < 0.3


def test_memory_is_bounded_under_many_observations() -> None:
    state = a_taught_state()
    small = len(json.dumps(state.snapshot()))
    chooser = Chooser({"small": state}, objective="best_quality_within_slo", max_outstanding_s=60)
    for number in range(3000):
        request = RoutingRequest({"small": 1 + number}, Slo(), route=f"r{number % 700}")
        now = 1000.0 + number
        decision = chooser.decide(request, now=now)
        assert decision.selected is not None
        chooser.start(str(number), request, decision.selected, now=now)
        outcome = Outcome(0.5, 1 + number % 900)
        chooser.finish(str(number), request, decision.selected, outcome, now=now + 0.5)
    assert len(json.dumps(state.snapshot())) < small + 512 * 1500


def test_what_was_kept_of_a_tier_that_sleeps_is_kept_on() -> None:
    # Given a router that ends before the tier's engine has started again
    kept = json.loads(json.dumps(a_taught_state().snapshot()))
    between = a_state(facts=None)
    between.restore(kept)
    # When it saves what it knows, then nothing of it is lost
    assert json.loads(json.dumps(between.snapshot())) == kept


def test_several_replies_at_once_say_nothing_of_the_engines_speed() -> None:
    # Given four replies per request, of which the longest sets the time and the mean is told
    state = a_state()
    before = state.calibrator.snapshot()
    chooser = Chooser({"small": state}, objective="best_quality_within_slo", max_outstanding_s=60)
    request = RoutingRequest({"small": 100}, Slo(), sequences=4)
    candidate = chooser.admit(request, chooser.decide(request, now=0.0), now=0.0)
    chooser.start("r", request, candidate, now=0.0)
    chooser.finish("r", request, candidate, Outcome(40.0, 30), now=40.0)
    # Then the engine is not taken for slow
    assert state.calibrator.snapshot() == before


def test_a_class_that_fills_its_share_makes_no_tier_crowded() -> None:
    # Given an idle tier of which a class has its share already
    states = {"small": a_state(), "large": a_state(tier="large", quality=2.0)}
    chooser = Chooser(states, objective="best_quality_within_slo", max_outstanding_s=60)
    tokens = {"small": 100, "large": 100}
    batch = RoutingRequest(tokens, Slo(e2e_ms=60_000), max_share=0.05, share_key="batch")
    states["large"].ledger.start("b", Work(10, 1, 0.1, 50.0, 0.1, share_key="batch"), now=0.0)
    # When more of it come
    for _ in range(50):
        decision = chooser.decide(batch, now=1.0)
        assert decision.selected is not None and decision.selected.tier == "small"
        chooser.note(decision)
        chooser.wanted(batch, decision, now=1.0)
    # Then nobody else pays a price for it, and the tier is not thought to hold less
    assert not states["large"].price.is_short
    assert states["large"].signal(1.0).fits == 16
