"""One request inside an engine, and the queue of those not yet scheduled."""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush


@dataclass(eq=False, slots=True)
class Sequence:
    """One request inside the engine.

    order: number of its arrival, which breaks ties of `priority` (lower is more urgent).
    pending: tokens still to be prefilled. generated: output tokens made when it last joined or
    left the decodes. finish_step: the engine step that makes its last token; None while it is not
    decoding. is_gone: cancelled, and only met again in a queue.
    """

    request_id: int | str
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    priority: float
    order: int
    pending: int
    generated: int = 0
    finish_step: int | None = None
    first_token_at_s: float | None = None
    is_waiting: bool = True
    is_gone: bool = False

    @property
    def target_tokens(self) -> int:
        """Tokens whose keys and values a prefill leaves in the cache."""
        return self.prompt_tokens + self.generated


class WaitingQueue:
    """Most urgent first, then in order of arrival. Cancelled requests leave when they surface."""

    __slots__ = ("_heap", "_num_gone")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Sequence]] = []
        self._num_gone = 0

    def __len__(self) -> int:
        return len(self._heap) - self._num_gone

    @property
    def head(self) -> Sequence:
        """The next to be scheduled, of a queue that is not empty."""
        return self._heap[0][2]

    def push(self, sequence: Sequence) -> None:
        sequence.is_waiting = True
        heappush(self._heap, (sequence.priority, sequence.order, sequence))

    def pop(self) -> Sequence:
        sequence = heappop(self._heap)[2]
        sequence.is_waiting = False
        self._surface()
        return sequence

    def discard(self, sequence: Sequence) -> None:
        sequence.is_gone = True
        self._num_gone += 1
        if self._num_gone > len(self._heap) // 2 + 16:
            self._heap = [entry for entry in self._heap if not entry[2].is_gone]
            heapify(self._heap)
            self._num_gone = 0
        self._surface()

    def copy(self, twin: Callable[[Sequence], Sequence]) -> "WaitingQueue":
        """Another one with the twin of each sequence."""
        copied = WaitingQueue()
        copied._heap = [(priority, order, twin(s)) for priority, order, s in self._heap]
        copied._num_gone = self._num_gone
        return copied

    def _surface(self) -> None:
        while self._num_gone and self._heap[0][2].is_gone:
            heappop(self._heap)
            self._num_gone -= 1
