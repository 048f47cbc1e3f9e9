"""Chooses a replica. Calls and loads in, replicas out; knows no Ray, no HTTP, no clock."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deployments.messages import EngineCall, Load
from deployments.work import WorkInHand, predicted_work_s
from serve_app.replica_choice.delay import delay_s
from serve_app.replica_choice.others import Others, OthersLoad
from serve_app.replica_choice.recent import Recent
from serve_app.resilience.breaker import Breaker

_SESSIONS_KEPT = 20_000
_ENDED_CALLS_KEPT = 256
# One failure is enough: a broken engine fails at once, so it looks idle and would draw every call,
# and what it is spared its equals take.
_ALLOWED_FAILS = 0
# Ends of calls are always told, save for a cancellation in the very moment of sending.
_FORGOTTEN_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Call:
    """What choosing needs of a call. work_s: predicted prefill and decode, without waiting."""

    request_id: str
    work_s: float
    session_id: str | None = None

    @classmethod
    def of(cls, call: EngineCall) -> "Call":
        """`prompt_cache_key` is OpenAI's own field for calls that share a prefix."""
        session = call.get("session_id") or call["body"].get("prompt_cache_key")
        session_id = session if isinstance(session, str) and session else None
        return cls(call["request_id"], predicted_work_s(call), session_id)


@dataclass(frozen=True, slots=True)
class _Flight:
    replica: str
    sent_at_s: float


class ReplicaChooser:
    """Keeps one tier's books and answers `choose`.

    What is on a replica is what this router sent there and is not finished, dead-reckoned from
    the predictions, plus what the replica says of the other routers' calls.

    Args:
        slots: calls that one replica decodes together.
        chance: draws the two candidates; seeded in tests.
        affinity_bound_s: longest extra delay at which a session still stays on its replica.
        cooldown_s: how long a replica that failed is spared; then one call probes it.

    `now` is monotonic seconds everywhere.
    """

    def __init__(
        self,
        slots: int,
        chance: random.Random,
        *,
        affinity_bound_s: float = 1.0,
        cooldown_s: float = 5.0,
    ) -> None:
        self._slots = slots
        self._chance = chance
        self._affinity_bound_s = affinity_bound_s
        self._cooldown_s = cooldown_s
        self._own: dict[str, WorkInHand] = {}
        self._others = Others()
        self._flights: dict[str, _Flight] = {}
        self._ended: Recent[str, str] = Recent(_ENDED_CALLS_KEPT)
        self._homes: Recent[str, str] = Recent(_SESSIONS_KEPT)
        self._breakers: dict[str, Breaker] = {}

    def choose(self, replicas: Sequence[str], call: Call, now: float) -> tuple[str, ...]:
        """Replicas to try, best first; empty when nothing is known of any of them."""
        if not self._flights and not self._others:
            return ()
        fit = [r for r in replicas if not self._is_spared(r, now)] or list(replicas)
        drawn = self._chance.sample(fit, min(2, len(fit)))
        delays_s = {replica: self.delay_s(replica, call.work_s, now) for replica in drawn}
        ranked = tuple(sorted(drawn, key=delays_s.__getitem__))
        home = self._homes.get(call.session_id) if call.session_id is not None else None
        if home is None or home not in fit:
            return ranked
        extra_s = self.delay_s(home, call.work_s, now) - delays_s[ranked[0]]
        if extra_s > self._affinity_bound_s:
            return ranked
        return (home, *(replica for replica in ranked if replica != home))

    def delay_s(self, replica: str, work_s: float, now: float) -> float:
        """Predicted seconds that a call of `work_s` would lose on the replica."""
        own = self._own_on(replica)
        # In between: whoever came first, the others' calls are part of the queue.
        left = own.left(now)
        others = self._others.load(replica, now).left()
        running = min(len(left), self._slots)
        return delay_s(left[:running] + others + left[running:], self._slots, work_s)

    def sent(self, replica: str, call: Call, now: float) -> None:
        """Books the call; sent again, it moves: Serve may pick another replica than ours."""
        flight = self._flights.get(call.request_id)
        if flight is not None and flight.replica != replica:
            self.finished(call.request_id, flight.replica, now)
        if flight is None or flight.replica != replica:
            self._flights[call.request_id] = _Flight(replica, now)
            in_hand = self._own.setdefault(replica, WorkInHand(self._slots))
            in_hand.add(call.request_id, call.work_s, now)
            if replica in self._breakers:
                self._breakers[replica].sent(now)
        if call.session_id is not None:
            self._homes.put(call.session_id, replica)
        self._forget_before(now - _FORGOTTEN_AFTER_S, now)

    def finished(self, request_id: str, replica: str, now: float) -> None:
        """Ends a call, however it ended; nothing when it is not or no longer on this replica."""
        flight = self._flights.get(request_id)
        if flight is None or flight.replica != replica:
            return
        del self._flights[request_id]
        self._ended.put(request_id, replica)
        if replica in self._own:
            self._own[replica].remove(request_id, now)

    def failed(self, request_id: str, now: float) -> None:
        """The replica failed this call, which may be finished already."""
        flight = self._flights.get(request_id)
        replica = flight.replica if flight is not None else self._ended.get(request_id)
        if replica is not None:
            self.rest(replica, now)

    def answered(self, replica: str) -> None:
        """The replica finished a call; whatever it failed before, it works."""
        self._breakers.pop(replica, None)

    def rest(self, replica: str, now: float) -> None:
        """Spares the replica for a while, unless all are spared."""
        fresh = Breaker(_ALLOWED_FAILS, self._cooldown_s)
        self._breakers.setdefault(replica, fresh).failed(now)

    def _is_spared(self, replica: str, now: float) -> bool:
        return replica in self._breakers and self._breakers[replica].is_open(now)

    def report(self, load: Load, now: float) -> None:
        """Takes the load that came with a reply; what is not ours in it is the others'."""
        work_s = load.get("work_s")
        if work_s is None:
            return
        replica, num_calls = load["replica"], load["running"] + load["waiting"]
        self._others.replied(replica, self._without_own(replica, num_calls, work_s, now), now)

    def counted(self, replica: str, num_calls: int, now: float) -> None:
        """Takes the count with which the replica accepts or rejects a call."""
        self._others.counted(replica, max(0, num_calls - len(self._own_on(replica))), now)

    def broadcast(self, replica: str, num_calls: float, work_s: float, now: float) -> None:
        """Takes a rough total that Serve told every router, some seconds after it was so."""
        self._others.broadcast(replica, self._without_own(replica, num_calls, work_s, now))

    def keep(self, replicas: Collection[str]) -> None:
        """Forgets all other replicas; their calls may still end."""
        self._own = {r: work for r, work in self._own.items() if r in replicas}
        self._breakers = {r: b for r, b in self._breakers.items() if r in replicas}
        self._others.keep(replicas)

    def _own_on(self, replica: str) -> WorkInHand:
        return self._own.get(replica, WorkInHand(self._slots))

    def _without_own(self, replica: str, num_calls: float, work_s: float, now: float) -> OthersLoad:
        own = self._own_on(replica)
        return OthersLoad(max(0.0, num_calls - len(own)), max(0.0, work_s - own.left_s(now)))

    def _forget_before(self, sent_at_s: float, now: float) -> None:
        while self._flights:
            request_id, flight = next(iter(self._flights.items()))
            if flight.sent_at_s >= sent_at_s:
                return
            self.finished(request_id, flight.replica, now)
