"""Other routers' calls on each replica, from what the replicas say. Knows no Ray and no clock."""

from collections.abc import Collection
from dataclasses import dataclass

# A reply's account is replaced by the next reply; without one it is worth nothing after this.
_REPLY_LIFETIME_S = 10.0
# A broadcast one is coarse and some seconds old when it comes, but stands until it changes.
_BROADCAST_TRUST = 0.3
_UNKNOWN_CALL_S = 1.0


@dataclass(frozen=True, slots=True)
class OthersLoad:
    """num_calls: may be a fraction, of a mean; work_s: what is left of them, summed."""

    num_calls: float
    work_s: float

    def left(self) -> list[float]:
        """The single calls' seconds left, as if they had begun one after the other."""
        count = round(self.num_calls)
        longest_s = 2.0 * self.work_s / count if count else 0.0
        return [longest_s * (index + 0.5) / count for index in range(count)]


@dataclass(frozen=True, slots=True)
class _Account:
    """at_s: when the replica said so; None for a broadcast."""

    load: OthersLoad
    at_s: float | None

    def trust(self, now: float) -> float:
        if self.at_s is None:
            return _BROADCAST_TRUST
        return min(1.0, max(0.0, 1.0 - (now - self.at_s) / _REPLY_LIFETIME_S))


class Others:
    """What other routers have on each replica.

    An account is blended with the tier's mean as it loses trust, so a replica that has long been
    silent counts as an average one, never as an idle one.
    """

    def __init__(self) -> None:
        self._told: dict[str, _Account] = {}
        self._broadcasts: dict[str, _Account] = {}
        self._last_mean = OthersLoad(0.0, 0.0)

    def __bool__(self) -> bool:
        return bool(self._told or self._broadcasts)

    def replied(self, replica: str, load: OthersLoad, now: float) -> None:
        self._told[replica] = _Account(load, now)

    def counted(self, replica: str, num_calls: int, now: float) -> None:
        """A count without work: each call is taken for as long as those last reported."""
        told = self._told.get(replica)
        known = [told.load] if told is not None else []
        known += [self._mean(now), OthersLoad(1.0, _UNKNOWN_CALL_S)]
        like = next(load for load in known if load.num_calls > 0.0)
        work_s = num_calls * like.work_s / like.num_calls
        self._told[replica] = _Account(OthersLoad(num_calls, work_s), now)

    def broadcast(self, replica: str, load: OthersLoad) -> None:
        self._broadcasts[replica] = _Account(load, None)

    def keep(self, replicas: Collection[str]) -> None:
        """Forgets all other replicas."""
        self._told = {r: account for r, account in self._told.items() if r in replicas}
        self._broadcasts = {r: a for r, a in self._broadcasts.items() if r in replicas}

    def load(self, replica: str, now: float) -> OthersLoad:
        account = self._most_trusted(replica, now)
        trust = account.trust(now) if account is not None else 0.0
        if account is not None and trust == 1.0:
            return account.load
        mean = self._mean(now)
        if account is None:
            return mean
        return OthersLoad(
            trust * account.load.num_calls + (1.0 - trust) * mean.num_calls,
            trust * account.load.work_s + (1.0 - trust) * mean.work_s,
        )

    def _most_trusted(self, replica: str, now: float) -> _Account | None:
        accounts = (self._told.get(replica), self._broadcasts.get(replica))
        known = [account for account in accounts if account is not None]
        return max(known, key=lambda account: account.trust(now), default=None)

    def _mean(self, now: float) -> OthersLoad:
        """Weighted by trust; the last one known once nothing is trusted any more."""
        num_calls = work_s = weight = 0.0
        for replica in {**self._told, **self._broadcasts}:
            account = self._most_trusted(replica, now)
            if account is not None:
                trust = account.trust(now)
                num_calls += trust * account.load.num_calls
                work_s += trust * account.load.work_s
                weight += trust
        if weight > 0.0:
            self._last_mean = OthersLoad(num_calls / weight, work_s / weight)
        return self._last_mean
