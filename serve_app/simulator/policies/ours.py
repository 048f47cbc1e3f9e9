"""The server's own brain as a policy, whole or with one part taken out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from serve_app.routing.latency import IDLE
from serve_app.routing.learning.calibration import Calibrator
from serve_app.routing.learning.conformal import GroupOffsets
from serve_app.routing.learning.knowledge import Knowledge
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.lengths.reply import LengthQuery
from serve_app.routing.live.chooser import Chooser
from serve_app.routing.live.facts import EngineFacts
from serve_app.routing.live.prices import ShadowPrice
from serve_app.routing.live.state import TierState
from serve_app.routing.types import RoutingRequest, TierView
from serve_app.simulator.fleet.members import ReplicaLoad
from serve_app.simulator.fleet.setting import Brain
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.simulator.router import Router


def ours(tiers: Sequence[SimulatedTier], brain: Brain, kind: type[TierState]) -> Router:
    """A router as the server builds it. kind: what it knows of a tier, whole or without a part."""
    all_lengths = OutputLengths(brain.default_output_tokens)
    states = {
        tier.tier: tier.state(brain.default_output_tokens, all_lengths, kind) for tier in tiers
    }
    chooser = Chooser(states, objective=brain.objective, max_outstanding_s=brain.max_outstanding_s)
    return Router(chooser, Ears(states))


@dataclass(frozen=True, slots=True)
class Ears:
    """Hands what the world tells to the states, as the server's readiness and flights do."""

    states: Mapping[str, TierState]

    def scaled(self, tier: str, num_replicas: int) -> None:
        self.states[tier].num_replicas = num_replicas

    def reported(self, tier: str, replica: int, load: ReplicaLoad, *, now: float) -> None:
        said = {
            "replica": str(replica), "running": load.running, "waiting": load.waiting,
            "queued_tokens": load.queued_tokens, "kv_usage": load.kv_usage,
        }  # fmt: skip
        self.states[tier].ledger.report(said, now=now)


class WithoutPrice(TierState):
    """Capacity costs nothing: who comes first takes it."""

    def engine_started(self, facts: EngineFacts) -> None:
        super().engine_started(facts)
        self.price = _NoPrice()


class WithoutCalibration(TierState):
    """Probabilities as the model states them, whether or not they come true."""

    def engine_started(self, facts: EngineFacts) -> None:
        super().engine_started(facts)
        self.calibrator = _Uncalibrated(is_measured=True)


class WithoutLearning(TierState):
    """The speed that was measured at the start, for ever; nothing is corrected or calibrated."""

    def engine_started(self, facts: EngineFacts) -> None:
        super().engine_started(facts)
        self.calibrator = _Unlearning(is_measured=True)


class WithoutLengths(TierState):
    """Reply lengths as believed before the first reply."""

    def engine_started(self, facts: EngineFacts) -> None:
        super().engine_started(facts)
        self.lengths = _Uncounted(self._default_output_tokens)


class WithoutHysteresis(TierState):
    """A tier that was just crowded is taken back at the edge."""

    def view(self, now: float, *, share_key: str = "", is_returning: bool = False) -> TierView:
        seen = super().view(now, share_key=share_key, is_returning=is_returning)
        return replace(seen, was_crowded=False)


class WithoutLoad(TierState):
    """Every tier is taken for idle."""

    def view(self, now: float, *, share_key: str = "", is_returning: bool = False) -> TierView:
        seen = super().view(now, share_key=share_key, is_returning=is_returning)
        return replace(seen, load=IDLE)


class _NoPrice(ShadowPrice):
    def wanted(self, worth: float | None, *, is_crowded: bool) -> None:
        return


class _Uncalibrated(Calibrator):
    def knowledge(self, *, trust: float = 1.0) -> Knowledge:
        return replace(super().knowledge(trust=trust), offsets=GroupOffsets({}, 0))


class _Unlearning(Calibrator):
    def observe(self, *args: object, **kwargs: object) -> None:
        return

    def observe_cut_off(self, *args: object, **kwargs: object) -> None:
        return


class _Uncounted(OutputLengths):
    def observe(self, query: LengthQuery, output_tokens: float, *, is_cut: bool = False) -> None:
        return


def knowing_the_length(request: RoutingRequest, output_tokens: int) -> RoutingRequest:
    """The request of a caller who knows how long his reply will be, and says so."""
    return replace(request, max_tokens=output_tokens, is_length_fixed=True)
