"""How far the simulated engine is from measured ones. Measurements in, errors out.

python -m serve_app.simulator.validation.measured tests/data/llama2_70b_fp16_latency.csv
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serve_app.simulator.validation.fitting import (
    Measurement,
    Simulated,
    fit,
    read_measurements,
    simulate,
)

# Fitted on every second size of each sweep, the ends included; scored on the sizes between.
_FIT_PROMPT_TOKENS = {128, 512, 2048, 8192}
_FIT_BATCH_SIZES = {1, 8, 64}
_FIT_OUTPUT_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean absolute percentage errors as shares, and over how many measurements."""

    prefill: float
    step: float
    e2e: float
    count: int

    def __str__(self) -> str:
        return (
            f"prefill {self.prefill:.1%}, step {self.step:.1%}, whole reply {self.e2e:.1%} "
            f"({self.count} measurements)"
        )


def _is_fitted_on(measured: Measurement) -> bool:
    """The fixed split: a size that the fit sees, at the shortest replies."""
    return (
        measured.prompt_tokens in _FIT_PROMPT_TOKENS
        and measured.batch_size in _FIT_BATCH_SIZES
        and measured.output_tokens == _FIT_OUTPUT_TOKENS
    )


def between_sizes(measurements: Sequence[Measurement]) -> Errors:
    """Error on shapes (prompt, batch) that no fit saw but that lie between those it saw."""
    pairs = []
    for machine in sorted({m.machine for m in measurements}):
        here = [m for m in measurements if m.machine == machine]
        seen = [m for m in here if _is_fitted_on(m)]
        shapes = {m.shape for m in seen}
        timing = fit(seen)
        pairs += [(simulate(timing, m), m) for m in here if m.shape not in shapes]
    return _errors(pairs)


def one_size_out(measurements: Sequence[Measurement]) -> Errors:
    """Error on each shape in turn, fitted on all others; at the ends this is extrapolation."""
    pairs = []
    for machine in sorted({m.machine for m in measurements}):
        here = [m for m in measurements if m.machine == machine]
        short = [m for m in here if m.output_tokens == _FIT_OUTPUT_TOKENS]
        for out in short:
            timing = fit([m for m in short if m.shape != out.shape])
            pairs += [(simulate(timing, m), m) for m in here if m.shape == out.shape and m.is_whole]
    return _errors(pairs)


def _errors(pairs: Sequence[tuple[Simulated, Measurement]]) -> Errors:
    def mape(
        simulated: Callable[[Simulated], float], measured: Callable[[Measurement], float]
    ) -> float:
        return sum(abs(simulated(s) / measured(m) - 1) for s, m in pairs) / len(pairs)

    return Errors(
        prefill=mape(lambda s: s.prefill_s, lambda m: m.prefill_s),
        step=mape(lambda s: s.step_s, lambda m: m.step_s),
        e2e=mape(lambda s: s.e2e_s, lambda m: m.e2e_s),
        count=len(pairs),
    )


if __name__ == "__main__":
    measured = read_measurements(Path(sys.argv[1]))
    print(f"between the sizes of the fit: {between_sizes(measured)}")
    print(f"each size left out in turn:   {one_size_out(measured)}")
