"""What one tier had taught at one moment. Never changed: whoever holds it can still ask later."""

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from serve_app.routing.learning.conformal import GroupOffsets, Recalibration
from serve_app.routing.learning.errors import Error, ErrorTracker
from serve_app.routing.learning.speed import Correction, Speeds
from serve_app.routing.record import record

_FORGOTTEN_BY_HALF: Final = 150
_MOST_KEPT: Final = 64


@record
class Unforeseen:
    """The error that is left at one load. seen_at: replies of the tier when it was last met."""

    tracker: ErrorTracker
    seen_at: int


@record
class Known:
    """How fast a tier is at one load, and how sure that is."""

    speeds: Speeds
    e2e_error: Error


@record
class Knowledge:
    """Everything a forecast rests on beside the raw prediction.

    trust: below 1 when nothing was learned for long. prior: the error before anything was seen.
    shift_s: what errors are relative to, beside the predicted time itself. unforeseen: by load;
    its trackers are replaced, not taught, once they are in here. num_replies: that taught.
    """

    trust: float
    correction: Correction
    speed_error: Error
    ttft_error: Error
    tpot_error: Error
    prior: Error
    shift_s: float
    unforeseen: Mapping[str, Unforeseen]
    num_replies: int
    offsets: GroupOffsets
    # Many decisions are made of one tier before it teaches something again.
    _by_load: dict[str, Known] = field(default_factory=dict, repr=False, compare=False)
    _by_groups: dict[tuple[str, ...], Recalibration] = field(
        default_factory=dict, repr=False, compare=False
    )

    def e2e_error(self, load: str) -> Error:
        """The error at a load: of itself as far as it was seen, else only as wide as the prior."""
        met = self.unforeseen.get(load)
        if met is None:
            return self.prior
        # As in the conformal groups: what was long not met is less and less believed.
        kept = 0.5 ** ((self.num_replies - met.seen_at) / _FORGOTTEN_BY_HALF)
        return met.tracker.shrunk(self.prior, trust=self.trust * kept)

    def at(self, load: str) -> Known:
        """At the load of this group."""
        known = self._by_load.get(load)
        if known is None:
            error = self.e2e_error(load)
            known = Known(self.correction.speeds(self.speed_error.level, error.level), error)
            self._by_load[load] = known
        return known

    def recalibration(self, groups: tuple[str, ...]) -> Recalibration:
        """What probabilities of requests of these groups are worth."""
        known = self._by_groups.get(groups)
        if known is None:
            if len(self._by_groups) >= _MOST_KEPT:
                self._by_groups.clear()
            known = self._by_groups[groups] = self.offsets.recalibration(groups)
        return known
