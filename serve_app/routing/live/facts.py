"""What is told of a tier and of how its requests end. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass

from mypy_extensions import mypyc_attr

from serve_app.routing.latency import LatencyProfile
from serve_app.routing.record import record


# Goes from process to process, as compiled classes cannot.
@mypyc_attr(native_class=False)
@dataclass(frozen=True, slots=True)
class TierSettings:
    """What the configuration says of one tier; units as in `deployments.spec.TierRouting`."""

    tier: str
    quality: Mapping[str, float]
    usd_per_hour: float
    min_prompt_tokens: int
    max_prompt_tokens: int | None
    prior: LatencyProfile


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a running engine said of itself.

    profile: None until its speed was measured. fingerprint: names engine, model and machine.
    """

    profile: LatencyProfile | None
    context_tokens: int
    max_num_seqs: int
    fingerprint: str = ""

    @property
    def identity(self) -> str:
        """What must be the same for anything learned to hold."""
        return f"{self.fingerprint}|{self.profile}|{self.context_tokens}|{self.max_num_seqs}"


@record
class Outcome:
    """How a request ended, as far as it teaches something; seconds from dispatch.

    output_tokens: of one sequence; None when it is not known how far it came. is_cut: it stopped
    at `max_tokens`. is_finished: False for timeouts, cancels and clients that left.
    """

    elapsed_s: float
    output_tokens: int | None
    is_finished: bool = True
    is_cut: bool = False
    ttft_s: float | None = None
