"""Fits a timing to latencies that somebody measured. Measurements in, EngineTiming out."""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serve_app.simulator.engine import EngineTiming, Replica

# What is fitted, from where the search starts. The host's time per step is left in `weights_s`:
# latencies of whole steps cannot tell the two apart.
_START = {
    "weights_s": 0.04,
    "token_s": 3e-4,
    "context_token_s": 3e-7,
    "pair_s": 1e-8,
    "sequence_s": 3e-4,
    "prefill_s": 0.005,
}
_ROUNDS = 30


@dataclass(frozen=True, slots=True)
class Measurement:
    """One batch of equal requests that were sent at once, and how long it took, in seconds.

    machine: accelerator and tensor parallelism. step_s: of one decode step, on average.
    """

    machine: str
    prompt_tokens: int
    batch_size: int
    output_tokens: int
    prefill_s: float
    step_s: float
    e2e_s: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.prompt_tokens, self.batch_size

    @property
    def is_whole(self) -> bool:
        """Whether the replies ran to `output_tokens`, which many long ones did not."""
        return self.e2e_s > 0.9 * (self.prefill_s + self.step_s * (self.output_tokens - 1))


@dataclass(frozen=True, slots=True)
class Simulated:
    """The same batch in the simulated engine, in seconds."""

    prefill_s: float
    step_s: float
    e2e_s: float


def read_measurements(path: Path) -> list[Measurement]:
    """Reads a CSV file with the columns of tests/data/llama2_70b_fp16_latency.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Measurement(
                machine=f"{row['gpu']} x {row['tensor_parallel']}",
                prompt_tokens=int(row["prompt_tokens"]),
                batch_size=int(row["batch_size"]),
                output_tokens=int(row["output_tokens"]),
                prefill_s=float(row["prefill_ms"]) / 1e3,
                step_s=float(row["step_ms"]) / 1e3,
                e2e_s=float(row["e2e_ms"]) / 1e3,
            )
            for row in csv.DictReader(file)
        ]


def simulate(timing: EngineTiming, batch: Measurement) -> Simulated:
    """Runs one batch through an engine that prefills whole prompts in one step."""
    tokens = batch.batch_size * batch.prompt_tokens
    engine = Replica(
        timing,
        max_num_seqs=batch.batch_size,
        max_batched_tokens=tokens,
        kv_tokens=tokens + batch.batch_size * batch.output_tokens,
        noise=random.Random(0),
    )
    for request in range(batch.batch_size):
        engine.submit(
            request,
            prompt_tokens=batch.prompt_tokens,
            output_tokens=batch.output_tokens,
            now=0.0,
        )
    last = engine.advance(float("inf"))[-1]
    decode_s = last.finished_at_s - last.first_token_at_s
    steps = max(1, batch.output_tokens - 1)
    return Simulated(last.first_token_at_s, decode_s / steps, last.finished_at_s)


def fit(measurements: Sequence[Measurement]) -> EngineTiming:
    """The timing of one machine that comes nearest in the logarithms of prefill and step times.

    Levenberg-Marquardt on the logarithms of the parameters, which keeps them above 0.
    """
    point = np.log(list(_START.values()))
    errors = _log_errors(point, measurements)
    damping = 1e-2
    for _ in range(_ROUNDS):
        slopes = _slopes(point, errors, measurements)
        damped = slopes.T @ slopes + damping * np.eye(len(point))
        move = np.clip(-np.linalg.solve(damped, slopes.T @ errors), -1.0, 1.0)
        moved = _log_errors(point + move, measurements)
        if moved @ moved < errors @ errors:
            point, errors, damping = point + move, moved, damping / 3
        else:
            damping *= 5
        if np.abs(move).max() < 1e-4:
            break
    return _timing(point)


def _timing(point: NDArray[np.float64]) -> EngineTiming:
    return EngineTiming(**dict(zip(_START, np.exp(point).tolist(), strict=True)))


def _log_errors(
    point: NDArray[np.float64], measurements: Sequence[Measurement]
) -> NDArray[np.float64]:
    timing = _timing(point)
    pairs = [(simulate(timing, measured), measured) for measured in measurements]
    ratios = [(s.prefill_s / m.prefill_s, s.step_s / m.step_s) for s, m in pairs]
    errors: NDArray[np.float64] = np.log(np.array(ratios)).ravel()
    return errors


def _slopes(
    point: NDArray[np.float64],
    errors: NDArray[np.float64],
    measurements: Sequence[Measurement],
) -> NDArray[np.float64]:
    """Forward differences of `_log_errors`, one column per parameter."""
    moves = 1e-4 * np.eye(len(point))
    return np.column_stack(
        [(_log_errors(point + move, measurements) - errors) / 1e-4 for move in moves]
    )
