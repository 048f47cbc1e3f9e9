"""One call to a tier, from dispatch to its end, and what it teaches. Knows no asyncio."""

from collections.abc import Callable

from deployments.messages import Reply, Tail
from serve_app.routing.live.facts import Outcome
from serve_app.routing.live.state import TierState
from serve_app.telemetry.records import RequestRecord


class Flight:
    """One call under way; `outcome` is what it taught, None as long as it taught nothing.

    Args:
        is_whole: False when it goes on with a reply that another engine began: how long such a
            part takes says nothing about whole replies.
    """

    def __init__(
        self,
        state: TierState,
        record: RequestRecord,
        sent_at_s: float,
        clock: Callable[[], float],
        *,
        is_whole: bool = True,
    ) -> None:
        self._state = state
        self._record = record
        self._sent_at_s = sent_at_s
        self._clock = clock
        self._is_whole = is_whole
        self.outcome: Outcome | None = None

    def ended(self, last: Reply | Tail) -> Outcome | None:
        """Takes the engine's last word."""
        now = self._clock()
        self._state.ledger.report(last["load"], now=now)
        usage, record = last["usage"], self._record
        if usage is None or not self._is_whole:
            return None
        output_tokens = max(1, usage["completion_tokens"] // record.ask.sequences)
        fitted = record.decision.fitted_max_tokens if record.decision else None
        limits = [record.ask.max_tokens, fitted]
        first_s = record.first_token_at_s
        self.outcome = Outcome(
            elapsed_s=now - self._sent_at_s,
            output_tokens=output_tokens,
            is_cut=any(limit is not None and output_tokens >= limit for limit in limits),
            ttft_s=None if first_s is None else first_s - self._sent_at_s,
        )
        return self.outcome

    def was_cut_off(self) -> None:
        """Timeout, cancel or a client that left: it would have taken longer than this."""
        if self.outcome is None and self._is_whole:
            elapsed_s = self._clock() - self._sent_at_s
            self.outcome = Outcome(elapsed_s, output_tokens=None, is_finished=False)
            self._record.outcome_of_tier = self.outcome
