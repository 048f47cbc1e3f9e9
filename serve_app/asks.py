"""One request after parsing, before routing: what the dispatcher takes from every front door."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.messages import Endpoint
from serve_app.routing.types import RoutingRequest, Slo


@dataclass(frozen=True, slots=True)
class Ask:
    """A parsed request. Trusted from here on.

    body: the OpenAI body with Tandem's own fields removed. deadline_s: hard limit, in seconds from
    arrival. arrived_at_s: on the dispatcher's clock. pinned_tier: None lets the router choose.
    is_returning: it says that it was refused before, with a time to come back. session_id:
    requests that share a prefix. adapter: the LoRA that it asks for; tiers: those that may have it,
    None where all may answer.
    """

    request_id: str
    endpoint: Endpoint
    body: dict[str, Any]
    slo: Slo
    arrived_at_s: float
    deadline_s: float
    pinned_tier: str | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    expected_output_tokens: int | None = None
    sequences: int = 1
    is_length_fixed: bool = False
    is_streamed: bool = False
    task: str = "default"
    slo_class: str | None = None
    max_share: float = 1.0
    is_returning: bool = False
    session_id: str | None = None
    priority: int | None = None
    trace_headers: Mapping[str, str] = field(default_factory=dict)
    adapter: str | None = None
    tiers: frozenset[str] | None = None

    @property
    def route(self) -> str:
        """What kind of request it is, as far as reply lengths go."""
        kind = f"{self.slo_class or '-'}/{self.task}"
        # Another adapter writes replies of another length.
        return kind if self.adapter is None else f"{kind}+{self.adapter}"

    @property
    def due_at_s(self) -> float:
        """When its first limit is reached: whole reply, first token, or the hard deadline."""
        limits_s = [ms / 1000 for ms in (self.slo.e2e_ms, self.slo.ttft_ms) if ms is not None]
        return self.arrived_at_s + min([*limits_s, self.deadline_s])

    def routing_request(
        self, prompt_tokens: Mapping[str, int], *, now: float, is_returning: bool = False
    ) -> RoutingRequest:
        """The request as routing sees it at `now`, on the clock of `arrived_at_s`.

        Args:
            is_returning: it was expected back.
        """
        return RoutingRequest(
            prompt_tokens=prompt_tokens,
            slo=self.slo,
            max_tokens=self.max_tokens,
            min_tokens=self.min_tokens,
            expected_output_tokens=self.expected_output_tokens,
            sequences=self.sequences,
            is_length_fixed=self.is_length_fixed,
            pinned_tier=self.pinned_tier,
            tiers=self.tiers,
            task=self.task,
            route=self.route,
            share_key=self.slo_class or "",
            max_share=self.max_share,
            elapsed_s=max(0.0, now - self.arrived_at_s),
            is_returning=is_returning,
            # Of the id, so that the same request is decided the same way again.
            draw=zlib.crc32(self.request_id.encode()) / 2**32,
        )
