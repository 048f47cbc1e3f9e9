"""The load that other routers put on a tier, from its replicas' reports. `now` is an argument."""

from collections.abc import Mapping
from typing import Final

from serve_app.routing.record import record

_LIFETIME_S: Final = 5.0


@record
class Queue:
    """Sequences on a tier, and prompt tokens that wait for their prefill."""

    sequences: float = 0.0
    tokens: float = 0.0


_NOTHING: Final = Queue()


@record
class _Report:
    """One replica's own account of its load, and how much of all replicas' was ours then."""

    load: Queue
    own: Queue
    at_s: float


class OtherRouters:
    """What is not ours of the replicas' load.

    Reports ride on replies, so they cost nothing and age; an aged one says less about now and
    fades out linearly over five seconds.
    """

    def __init__(self) -> None:
        self._reports: dict[str, _Report] = {}
        self.cached_share = 0.0

    def report(self, load: Mapping[str, object], own: Queue, *, now: float) -> None:
        """Takes the `deployments.messages.Load` of a reply; `own` is what we have there."""
        running, waiting = load.get("running", 0), load.get("waiting", 0)
        queued = load.get("queued_tokens", 0)
        if not (isinstance(running, int) and isinstance(waiting, int) and isinstance(queued, int)):
            return
        reported = Queue(running + waiting, queued)
        self._reports[str(load.get("replica", ""))] = _Report(reported, own, now)
        cached = load.get("prefix_hit_rate", 0.0)
        if isinstance(cached, float) and 0.0 <= cached <= 1.0:
            self.cached_share = cached

    def load(self, now: float) -> Queue:
        """Summed over the replicas; never below nothing."""
        if not self._reports:
            return _NOTHING
        for replica, report in list(self._reports.items()):
            if now - report.at_s >= _LIFETIME_S:
                del self._reports[replica]
        reports = self._reports.values()
        if not reports:
            return _NOTHING
        freshness = 1.0 - (now - max(r.at_s for r in reports)) / _LIFETIME_S
        sequences = sum(r.load.sequences for r in reports) - max(r.own.sequences for r in reports)
        tokens = sum(r.load.tokens for r in reports) - max(r.own.tokens for r in reports)
        return Queue(max(0.0, sequences * freshness), max(0.0, tokens * freshness))
