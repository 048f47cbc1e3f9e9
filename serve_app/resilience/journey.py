"""One request's tries: whether it is tried again, and which tiers it has left behind.

Knows no asyncio, no HTTP; `now` is on the clock of the ask's arrival.
"""

from collections import Counter
from functools import cached_property

from serve_app.asks import Ask
from serve_app.errors import (
    EngineRejected,
    ReplicaLost,
    RequestQuarantined,
    Saturated,
    ShuttingDown,
    TandemError,
    TierFailed,
    Unavailable,
)
from serve_app.resilience.quarantine import content_hash
from serve_app.resilience.safeguards import Safeguards

_TRIES_WITH_REPLICAS_LEFT = 2
_FIRST_BACKOFF_S = 0.1


class Journey:
    """Follows one ask from tier to tier; backoff_s: how long to wait before its next try."""

    def __init__(self, ask: Ask, safeguards: Safeguards) -> None:
        self.ask = ask
        self._safeguards = safeguards
        self._failures: Counter[str] = Counter()
        self._left: set[str] = set()
        self.num_retries = 0
        self.backoff_s = 0.0
        safeguards.budget.request()

    @property
    def left_tiers(self) -> frozenset[str]:
        """Tiers that failed it and should not be asked again while there is another."""
        return frozenset(self._left)

    @property
    def is_retry(self) -> bool:
        return self.num_retries > 0

    @property
    def suffix(self) -> str:
        """Tells its tries apart, for an engine that may still have an earlier one.

        With a sign that no caller's own id has.
        """
        return f"~{self.num_retries}" if self.num_retries else ""

    @property
    def last_failed(self) -> str | None:
        return next(reversed(self._failures), None)

    def begins(self, now: float) -> None:
        """
        Raises:
            RequestQuarantined: engines died of such a request.
        """
        quarantine = self._safeguards.quarantine
        # Hashing costs something; most of the time nothing ever died.
        if not quarantine.is_empty and quarantine.holds(self.content, now=now):
            raise self._quarantined()

    def sent(self, tier: str, now: float) -> None:
        self._safeguards.breakers[tier].sent(now)

    def answered(self, tier: str) -> None:
        self._safeguards.breakers[tier].succeeded()
        if not self._safeguards.quarantine.is_empty:
            self._safeguards.quarantine.answered(self.content)

    def failed(
        self, tier: str, error: TandemError, *, replicas: int, now: float, can_retry: bool = True
    ) -> None:
        """Notes a failed try and returns when there may be another.

        Args:
            replicas: how many the tier was known to have. can_retry: False when what was said
                cannot be gone on with.

        Raises:
            TandemError: the error itself when it is final, or may not be retried.
            RequestQuarantined: this was the second engine that died of it.
        """
        if not _is_the_tiers(error):
            raise error
        self._note(tier, error, replicas=replicas, now=now)
        if not can_retry or self.ask.deadline_s <= now - self.ask.arrived_at_s:
            raise error
        if self.num_retries >= self._safeguards.config.num_retries:
            raise error
        if not self._safeguards.budget.take():
            raise error
        # A replica that died is not asked again; what is there and fails may need a moment.
        is_gone = isinstance(error, ReplicaLost)
        self.backoff_s = 0.0 if is_gone else _FIRST_BACKOFF_S * 2**self.num_retries
        self.num_retries += 1

    def _note(self, tier: str, error: TandemError, *, replicas: int, now: float) -> None:
        # Moved to the end: the last key is the tier that failed last.
        self._failures[tier] = self._failures.pop(tier, 0) + 1
        is_elsewhere = isinstance(error, Unavailable) and replicas > 1
        if not is_elsewhere or self._failures[tier] >= _TRIES_WITH_REPLICAS_LEFT:
            self._left.add(tier)
        if not isinstance(error, Saturated):
            cause = error.replica if isinstance(error, ReplicaLost) else None
            breaker = self._safeguards.breakers[tier]
            breaker.failed(now, cause)
            if cause is not None and replicas <= 1:
                # Calls would wait for the replica that takes its place.
                breaker.open(now)
        if isinstance(error, ReplicaLost) and not error.with_node:
            quarantine = self._safeguards.quarantine
            quarantine.died(self.content, error.replica, now=now)
            if quarantine.holds(self.content, now=now):
                raise self._quarantined() from error

    @cached_property
    def content(self) -> str:
        """The quarantine's name for what it asks."""
        return content_hash(self.ask.endpoint, self.ask.body)

    def _quarantined(self) -> RequestQuarantined:
        return RequestQuarantined(
            f"Request {self.ask.request_id} is not sent to any engine: two died while they had a "
            "request of this content, and a third is not risked. Report the id to whoever runs "
            "this service."
        )


def _is_the_tiers(error: TandemError) -> bool:
    """The tier failed, not the request; another one may do better."""
    if isinstance(error, ShuttingDown):
        return False
    if isinstance(error, EngineRejected):
        return error.status >= 500
    return isinstance(error, Unavailable | TierFailed | Saturated)
