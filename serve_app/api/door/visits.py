"""One admitted request from its key's point of view: what it may take, and what it took."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from serve_app.access.keys.key import Key
from serve_app.access.limits.limiter import Limiter
from serve_app.access.limits.permit import Permit
from serve_app.asks import Ask
from serve_app.errors import ClientGone, DeadlineExceeded, NotBegun, TandemError
from serve_app.telemetry.records import RequestRecord

_CHARACTERS_PER_TOKEN = 4
# The caller ended these himself, by leaving or by his own deadline; all others are ours.
_LEFT = (DeadlineExceeded.status, ClientGone.status)


class Visits:
    """Opens a visit for each request.

    Args:
        limiter: None where no keys are asked for. usd_per_hour: price of one replica, by tier.
        usual_output_tokens: charged at first for a reply whose length nothing limits.
    """

    def __init__(
        self,
        limiter: Limiter | None,
        usd_per_hour: Mapping[str, float],
        usual_output_tokens: int,
    ) -> None:
        self._limiter = limiter
        self._usd_per_hour = usd_per_hour
        self._usual_output_tokens = usual_output_tokens
        self._ids: set[str] = set()

    async def open(self, key: Key | None, ask: Ask) -> "Visit":
        """Admits the ask; close what you get.

        Raises:
            TandemError: the key's limits do not admit it now.
        """
        permit = None
        if self._limiter is not None and key is not None:
            permit = await self._limiter.admit(key, self._estimated_tokens(ask))
        request_id = self._own_id(ask.request_id)
        self._ids.add(request_id)
        return Visit(replace(ask, request_id=request_id), permit, self)

    @asynccontextmanager
    async def short(self, key: Key | None) -> AsyncIterator[Permit | None]:
        """A request that generates nothing: counts as one, and as no tokens."""
        if self._limiter is None or key is None:
            yield None
            return
        permit = await self._limiter.admit(key, 0)
        try:
            yield permit
        finally:
            permit.settle(0)

    def close(self, visit: "Visit", record: RequestRecord | None) -> None:
        self._ids.discard(visit.ask.request_id)
        if visit.permit is None:
            return
        if record is None:
            # What was used is not known, and leaving early must not be a way to use it for nothing.
            visit.permit.settle(None)
            return
        visit.permit.settle(self._used_tokens(record), self._cost_usd(record))

    def refused(self, visit: "Visit") -> None:
        """Ends a visit that was refused or failed: its caller got nothing."""
        if visit.permit is not None:
            visit.permit.settle(0)
        self._ids.discard(visit.ask.request_id)

    def _own_id(self, wanted: str) -> str:
        """The caller's id, unless a request under way has it: each is accounted for by its own."""
        number, own = 2, wanted
        while own in self._ids:
            own, number = f"{wanted}.{number}", number + 1
        return own

    def _estimated_tokens(self, ask: Ask) -> int:
        """What it may use, as OpenAI estimates it: prompt by characters, reply by its limit."""
        output = ask.max_tokens or ask.expected_output_tokens or self._usual_output_tokens
        return _prompt_tokens(ask.body) + ask.sequences * output

    def _used_tokens(self, record: RequestRecord) -> int:
        """As the engine counted them; of a stream that was left or broke, what is known of it."""
        if record.usage is not None:
            return record.usage["prompt_tokens"] + record.usage["completion_tokens"]
        said = _prompt_tokens(record.ask.body) + record.num_events
        return max(said, self._estimated_tokens(record.ask))

    def _cost_usd(self, record: RequestRecord) -> float:
        """Its share of the replica's time, by the tier's price per hour.

        The time of reading the prompt and writing the reply, without waiting, divided by those who
        shared its steps, as it was predicted for the length that came.
        """
        candidate = record.candidate
        if candidate is None or record.dispatched_at_s is None:
            return 0.0
        time, usage = candidate.forecast.time, record.usage
        sequences = record.ask.sequences
        tokens = max(record.num_events / sequences, candidate.output_tokens)
        if usage is not None:
            tokens = usage["completion_tokens"] / sequences
        seconds = (time.e2e_s(tokens) - time.wait_s) * sequences / max(1.0, time.batch)
        return self._usd_per_hour.get(candidate.tier, 0.0) / 3600 * seconds


@dataclass(slots=True)
class Visit:
    """ask: with an id that no other request has. permit: None without keys."""

    ask: Ask
    permit: Permit | None
    _visits: Visits
    _record: RequestRecord | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return self.permit.headers() if self.permit else {}

    def begun(self, record: RequestRecord) -> None:
        """Keeps what will be known of it, for when it ends without a reply."""
        self._record = record

    def close(self, record: RequestRecord | None) -> None:
        """Ends it, with what is known of how it went."""
        self._visits.close(self, record)

    @contextmanager
    def closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except TandemError as error:
            if error.status in _LEFT and not isinstance(error, NotBegun):
                self.close(self._record)
            else:
                self._visits.refused(self)
            raise
        except BaseException:
            self.close(self._record)
            raise


def _prompt_tokens(body: Mapping[str, Any]) -> int:
    """Roughly; the tier's tokenizer counts them exactly, but only once they are admitted."""
    if "messages" in body:
        return sum(_tokens_of(message.get("content")) for message in body["messages"])
    prompt = body["prompt"]
    is_many = isinstance(prompt, list) and not isinstance(prompt[0], int)
    return sum(map(_tokens_of, prompt)) if is_many else _tokens_of(prompt)


def _tokens_of(content: Any) -> int:
    """Of a text, a list of parts, or a list of token ids."""
    if isinstance(content, str):
        return len(content) // _CHARACTERS_PER_TOKEN
    if not isinstance(content, list):
        return 0
    return sum(len(str(one)) // _CHARACTERS_PER_TOKEN if isinstance(one, dict) else 1
               for one in content)  # fmt: skip
