"""What is in flight on one tier, as far as this router knows. `now` is an argument everywhere."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappop, heappush, nsmallest
from typing import Final

from serve_app.routing.latency import MetLoad, TierLoad
from serve_app.routing.live.lately import Lately
from serve_app.routing.live.others import OtherRouters, Queue
from serve_app.routing.record import record

_TURNOVER_GAIN: Final = 0.05
_OVERDUE_SHARE: Final = 0.1


@record
class Work:
    """One request as it is sent to a tier.

    ttft_s, e2e_s: predicted from now. prefill_s: of that, what blocks others. slot_s: how long it
    holds a decode slot when all are taken. share_key: whose share of the tier it counts against.
    """

    prompt_tokens: int
    sequences: int
    ttft_s: float
    e2e_s: float
    prefill_s: float = 0.0
    slot_s: float = 0.0
    share_key: str = ""


@dataclass(slots=True)
class _InFlight:
    work: Work
    started_at_s: float
    sequence_s_before: float
    prefill_s_before: float

    def finishes_at_s(self, now: float) -> float:
        """As predicted; one that is overdue takes a while yet, the longer the later it is."""
        predicted = self.started_at_s + self.work.e2e_s
        overdue_s = now - predicted
        return predicted if overdue_s <= 0 else now + _OVERDUE_SHARE * (now - self.started_at_s)


class Ledger:
    """Counts this router's requests exactly and the other routers' by the engines' reports."""

    def __init__(self) -> None:
        self._in_flight: dict[str, _InFlight] = {}
        self._sequences = 0
        self._slot_s = 0.0
        self._by_share: Counter[str] = Counter()
        self._waiting_first: list[tuple[float, str]] = []
        self._queued_tokens = 0
        self._queued: set[str] = set()
        self._others = OtherRouters()
        self._lately = Lately()
        # Who waits for a slot, by how many sequences will have ended when it is free.
        self._num_ended = 0
        self._without_slot: list[tuple[int, str]] = []
        self._slot_at_s: dict[str, float] = {}
        self.turnover_s = 0.0

    @property
    def slot_s(self) -> float:
        """Seconds that a sequence holds its slot, in the mean over those in flight."""
        return self._slot_s / self._sequences if self._sequences else 0.0

    @property
    def num_in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def num_sequences(self) -> int:
        """Of those in flight; more than requests where `n` is."""
        return self._sequences

    def start(self, request_id: str, work: Work, *, now: float, slots: float = math.inf) -> None:
        """Notes a request that is sent now to a tier with so many decode slots."""
        self._pass_time(now)
        ahead = self._sequences - slots + 1
        if ahead > 0:
            heappush(self._without_slot, (self._num_ended + int(ahead), request_id))
        self._in_flight[request_id] = _InFlight(
            work, now, self._lately.sequence_s, self._lately.prefill_s
        )
        self._sequences += work.sequences
        self._slot_s += work.slot_s * work.sequences
        self._by_share[work.share_key] += work.sequences
        self._queued.add(request_id)
        self._queued_tokens += work.prompt_tokens
        heappush(self._waiting_first, (now + work.ttft_s, request_id))

    def finish(self, request_id: str, *, replicas: int, now: float) -> MetLoad | None:
        """Notes that a request is over, however it ended; returns the load it met meanwhile."""
        entry = self._in_flight.get(request_id)
        if entry is None:
            return None
        self._pass_time(now)
        self._prefill_due(now)
        self._prefilled(request_id)
        del self._in_flight[request_id]
        self._num_ended += entry.work.sequences
        while self._without_slot and self._without_slot[0][0] <= self._num_ended:
            waiting = heappop(self._without_slot)[1]
            if waiting in self._in_flight:
                self._slot_at_s[waiting] = now
        self._sequences -= entry.work.sequences
        self._slot_s -= entry.work.slot_s * entry.work.sequences
        self._by_share[entry.work.share_key] -= entry.work.sequences
        if not self._by_share[entry.work.share_key]:
            del self._by_share[entry.work.share_key]
        stayed_s = now - entry.started_at_s
        slot_wait_s = self._slot_at_s.pop(request_id, entry.started_at_s) - entry.started_at_s
        gain = _TURNOVER_GAIN if self.turnover_s else 1.0
        self.turnover_s += gain * (stayed_s - self.turnover_s)
        if stayed_s <= 0.0:
            return None
        per_replica_s = stayed_s * max(1, replicas)
        others_prefill_s = self._lately.prefill_s - entry.prefill_s_before - entry.work.prefill_s
        return MetLoad(
            sequences=(self._lately.sequence_s - entry.sequence_s_before) / per_replica_s,
            blocked_share=max(0.0, others_prefill_s) / per_replica_s,
            # Whom the slots of other routers' requests went to cannot be seen from here.
            slot_wait_s=None if self._others.load(now).sequences >= 1.0 else slot_wait_s,
        )

    def sequences_of(self, share_key: str) -> int:
        """Sequences in flight that count against one share."""
        return self._by_share.get(share_key, 0)

    def report(self, load: Mapping[str, object], *, now: float) -> None:
        """Takes the `deployments.messages.Load` of a reply."""
        self._others.report(load, Queue(self._sequences, self._queued_tokens), now=now)

    def load(
        self, *, replicas: int, max_num_seqs: int, now: float, reserved: float = 0.0
    ) -> TierLoad:
        """The load that a new request would meet on an average replica.

        Args:
            reserved: sequences that are promised a place.
        """
        replicas = max(1, replicas)
        self._prefill_due(now)
        others = self._others.load(now)
        beside = others.sequences + reserved
        sequences = self._sequences + beside
        lately = self._lately.means(self._sequences, now=now)
        mean_sequences, blocked_share = lately or (float(self._sequences), 0.0)
        return TierLoad(
            sequences=sequences / replicas,
            queued_tokens=(self._queued_tokens + others.tokens) / replicas,
            slot_wait_s=self._slot_wait_s(sequences, replicas * max_num_seqs, now),
            mean_sequences=(mean_sequences + beside) / replicas,
            turnover_s=self.turnover_s,
            blocked_share=blocked_share / replicas,
            cached_share=self._others.cached_share,
        )

    def drained_after_s(self, num_sequences: float, *, slots: int, now: float) -> float:
        """Seconds until so many of the sequences in flight have finished, as predicted; of those
        that other routers sent only their number is known, and how long replies usually stay.
        """
        left = num_sequences
        finishes = sorted(
            (entry.finishes_at_s(now), entry.work.sequences) for entry in self._in_flight.values()
        )
        for finishes_at_s, sequences in finishes:
            left -= sequences
            if left <= 0:
                return max(0.0, finishes_at_s - now)
        own_s = max(0.0, finishes[-1][0] - now) if finishes else 0.0
        return own_s + min(left, self._others.load(now).sequences) * self.turnover_s / slots

    def _prefill_due(self, now: float) -> None:
        """Takes for done the prefills of those whose first token was predicted until now."""
        while self._waiting_first and self._waiting_first[0][0] <= now:
            self._prefilled(heappop(self._waiting_first)[1])

    def _prefilled(self, request_id: str) -> None:
        if request_id in self._queued:
            work = self._in_flight[request_id].work
            self._queued.remove(request_id)
            self._queued_tokens -= work.prompt_tokens
            self._lately.prefilled(work.prefill_s)

    def _pass_time(self, now: float) -> None:
        self._lately.pass_time(self._sequences + self._others.load(now).sequences, now=now)

    def _slot_wait_s(self, sequences: float, slots: int, now: float) -> float:
        """Until enough of the requests ahead have finished, by their own predictions."""
        ahead = int(sequences) - slots + 1
        if ahead <= 0:
            return 0.0
        # Those beyond what is in flight were promised a place and take their turn first.
        known = min(ahead, len(self._in_flight))
        wait_s = (ahead - known) * self.turnover_s / slots
        if known:
            finishes = (entry.finishes_at_s(now) for entry in self._in_flight.values())
            wait_s += nsmallest(known, finishes)[-1] - now
        return max(0.0, wait_s, (ahead - 0.5) * self.slot_s / slots)
