"""What a router would measure of an engine when it starts. Engines in, a LatencyProfile out."""

from collections.abc import Callable

from deployments.engine.speed.measure import line
from serve_app.routing.latency import LatencyProfile
from serve_app.simulator.engine import Replica

_PROBED_PROMPTS = (32, 256, 768)
_PROBED_BATCHES = (1, 4, 8)
_PROBED_STEPS = 12

Make = Callable[[], Replica]


def measured(make: Make) -> LatencyProfile:
    """The profile that a start-up measurement of this engine would give."""
    prefills = [(tokens, _probe_s(make, tokens, 1, 1)) for tokens in _PROBED_PROMPTS]
    steps = [
        (size, (_probe_s(make, 16, _PROBED_STEPS + 1, size) - _probe_s(make, 16, 1, size))
         / _PROBED_STEPS)
        for size in _PROBED_BATCHES
    ]  # fmt: skip
    prefill_base_s, prefill_per_token_s = line(prefills)
    step_base_s, step_per_sequence_s = line(steps)
    return LatencyProfile(
        prefill_base_s, prefill_per_token_s, step_base_s, step_per_sequence_s, is_measured=True
    )


def _probe_s(make: Make, prompt_tokens: int, output_tokens: int, size: int) -> float:
    """Seconds until `size` equal requests are answered on an idle replica."""
    replica = make()
    for number in range(size):
        replica.submit(number, prompt_tokens=prompt_tokens, output_tokens=output_tokens, now=0.0)
    return replica.advance(float("inf"))[-1].finished_at_s
