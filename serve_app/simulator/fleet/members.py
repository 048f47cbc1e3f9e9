"""The replicas of all tiers at one moment, and which of them takes a request. Knows no policy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter

from serve_app.simulator.engine import Replica


@dataclass(eq=False, slots=True)
class Member:
    """One replica of a tier, the `number`-th that it ever had.

    due_at_s: when the clock looks at it next; None while it is idle. is_leaving: it finishes what
    it has and takes nothing new. started_at_s, ended_at_s: it is paid for in between.
    """

    tier: str
    number: int
    replica: Replica
    started_at_s: float = 0.0
    ended_at_s: float | None = None
    due_at_s: float | None = None
    is_leaving: bool = False

    @property
    def num_requests(self) -> int:
        return self.replica.num_requests

    def paid_s(self, since_s: float, until_s: float) -> float:
        """Seconds of its life between two times."""
        ended_at_s = inf if self.ended_at_s is None else self.ended_at_s
        return max(0.0, min(until_s, ended_at_s) - max(since_s, self.started_at_s))


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """What a replica says of itself, as vLLM's metrics do; `kv_usage` from 0 to 1."""

    running: int
    waiting: int
    queued_tokens: int
    kv_usage: float


@dataclass(slots=True)
class Fleet:
    """All replicas: `serving` by tier, and `paid`, everything that ever cost money.

    make: a new replica of a tier, by its number; needed when replicas come and go. on_reply: told
    of each whole reply: its tier, when it ended, seconds to its first token. slowdown: how many
    times as long every engine takes, also those that come.
    """

    serving: dict[str, list[Member]]
    make: Mapping[str, Callable[[int], Replica]] = field(default_factory=dict)
    paid: list[Member] = field(default_factory=list)
    on_reply: Callable[[str, float, float], None] | None = None
    slowdown: float = 1.0

    @classmethod
    def fixed(cls, tiers: Mapping[str, Sequence[Replica]]) -> "Fleet":
        """Replicas that are there from the beginning."""
        serving = {
            tier: [Member(tier, number, replica) for number, replica in enumerate(replicas)]
            for tier, replicas in tiers.items()
        }
        return cls(serving, paid=[member for members in serving.values() for member in members])

    @classmethod
    def of(cls, make: Mapping[str, Callable[[int], Replica]], counts: Mapping[str, int]) -> "Fleet":
        """So many new replicas of each tier."""
        fleet = cls.fixed({t: [make[t](n) for n in range(count)] for t, count in counts.items()})
        fleet.make = make
        return fleet

    def place(self, tier: str) -> Member | None:
        """The serving replica with the fewest requests; None when there is none."""
        members = self.serving[tier]
        if len(members) == 1:
            return members[0]
        return min(members, key=attrgetter("num_requests"), default=None)

    def add(self, tier: str, *, ordered_at_s: float) -> Member:
        """A new replica that serves from now on, paid for since it was ordered."""
        number = sum(member.tier == tier for member in self.paid)
        replica = self.make[tier](number)
        replica.slowdown = self.slowdown
        member = Member(tier, number, replica, started_at_s=ordered_at_s)
        self.paid.append(member)
        self.serving[tier].append(member)
        return member

    def remove(self, member: Member) -> None:
        """It takes nothing new; what it has, it may finish."""
        self.serving[member.tier].remove(member)
        member.is_leaving = True

    def slow_down(self, factor: float) -> None:
        """From the next step on, every engine takes so many times as long."""
        self.slowdown = factor
        for member in self.paid:
            member.replica.slowdown = factor

    def usd(self, prices: Mapping[str, float], since_s: float, until_s: float) -> float:
        """What all replicas cost between two times, idle or not. prices: USD per hour by tier."""
        return sum(m.paid_s(since_s, until_s) * prices[m.tier] for m in self.paid) / 3600.0


class LoadBoard:
    """What routers see of the replicas' load, up to `staleness_s` old."""

    def __init__(self, fleet: Fleet, *, staleness_s: float = 0.0) -> None:
        self.fleet = fleet
        self._staleness_s = staleness_s
        self._read_at_s = dict.fromkeys(fleet.serving, -inf)
        self._seen: dict[str, list[ReplicaLoad]] = {}

    def of(self, tier: str, now: float) -> list[ReplicaLoad]:
        """One account per replica of the tier."""
        if now - self._read_at_s[tier] >= self._staleness_s:
            self._read_at_s[tier] = now
            self._seen[tier] = [load_of(member) for member in self.fleet.serving[tier]]
        return self._seen[tier]


def load_of(member: Member) -> ReplicaLoad:
    """Its load now."""
    replica = member.replica
    return ReplicaLoad(replica.running, replica.waiting, replica.queued_tokens, replica.kv_usage)
