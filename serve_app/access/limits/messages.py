"""What a router and the shared counters tell each other about one key."""

from dataclasses import dataclass

from serve_app.access.keys.key import Key


@dataclass(frozen=True, slots=True)
class Limits:
    """A key's limits; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    usd_per_month: float | None = None

    @classmethod
    def of(cls, key: Key) -> "Limits":
        return cls(
            key.requests_per_minute,
            key.tokens_per_minute,
            key.concurrent_requests,
            key.usd_per_month,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """One rate as a router sees it.

    spent: since its last report. kept: of its lease, not spent yet. need: must be had for requests
    that wait. wish: would spare the next call.
    """

    spent: int = 0
    kept: int = 0
    need: int = 0
    wish: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a router says of a key.

    refunds: (seconds ago, tokens) that were charged and not used. running: requests in flight.
    slots_kept: requests it keeps places for, running ones included. slots_needed: more of them
    that wait. usd: spent. usd_number: of this amount, which is told again under the same number
    until an answer has come: one that was only late must not be charged twice.
    """

    limits: Limits
    requests: Claim = Claim()
    tokens: Claim = Claim()
    refunds: tuple[tuple[float, int], ...] = ()
    running: int = 0
    slots_kept: int = 0
    slots_needed: int = 0
    usd: float = 0.0
    usd_number: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """A router's share of one rate.

    kept: what it may spend without asking. remaining: what is left in all, its own included.
    clears_in_s: until what was asked for and not granted would be. idle_elsewhere: what other
    routers hold and have not spent.
    """

    kept: int
    remaining: int
    clears_in_s: float = 0.0
    idle_elsewhere: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """What the counters answer; None where the key has no such limit.

    slots: kept is how many requests the router may run at once. usd_spent: by all routers this
    month. is_contested: somebody was refused for what others hold idle; give it back.
    """

    requests: Share | None
    tokens: Share | None
    slots: Share | None
    usd_spent: float
    is_contested: bool = False
