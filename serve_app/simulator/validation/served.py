"""How far the simulated engine is from engines that served. A decision log in, errors out.

    tandem bench calibration --live --config models.local.yaml --requests 400
    python -m serve_app.simulator.validation.served DECISIONS.jsonl 40,134,40,133,40,133

The numbers say how many requests of the log, in the order of arrival, belong together: by turns a
warm-up, which the timing is fitted to, and the load that is scored. A simulated engine gets the
same requests at the same times and is compared in whole-reply times.
"""

import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from serve_app.simulator.engine import EngineTiming, Replica

_START = {
    "weights_s": 0.03, "token_s": 1e-3, "context_token_s": 1e-6, "sequence_s": 1e-3,
    "prefill_s": 0.01,
}  # fmt: skip
_HOP_S = 0.01
_QUANTILES = (0.5, 0.95)
_KV_TOKENS = 100_000
# As in models.local.yaml.
_SLOTS, _BATCHED_TOKENS = 16, 2048


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of an engine; seconds of the router's clock, lengths in tokens."""

    arrived_at_s: float
    prompt_tokens: int
    output_tokens: int
    e2e_s: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One tier at one load: quantiles of the whole reply, measured and simulated, in seconds."""

    tier: str
    load: int
    measured_s: tuple[float, ...]
    simulated_s: tuple[float, ...]

    def __str__(self) -> str:
        quantiles = zip(_QUANTILES, self.measured_s, self.simulated_s, strict=True)
        figures = "; ".join(
            f"p{q * 100:.0f} {measured:.2f} s, simulated {simulated:.2f} s "
            f"({simulated / measured - 1:+.1%})"
            for q, measured, simulated in quantiles
        )
        return f"{self.tier}, load {self.load}: {figures}"


def read_replies(lines: Iterable[str]) -> list[tuple[str, Reply]]:
    """Whole replies with their tiers, in the order of arrival."""
    entries = [entry for line in lines if (entry := _parsed(line)) and entry["status"] == 200]
    return [
        (
            entry["tier"],
            Reply(
                entry["arrived_at_s"],
                next(c["prompt_tokens"] for c in entry["candidates"] if c["tier"] == entry["tier"]),
                entry["output_tokens"],
                entry["e2e_ms"] / 1e3,
            ),
        )
        for entry in sorted(entries, key=lambda entry: entry["arrived_at_s"])
    ]


def compare(replies: Sequence[tuple[str, Reply]], sizes: Sequence[int]) -> list[Compared]:
    """Each tier at each load, by a timing fitted to that tier's replies of the warm-ups.

    Args:
        sizes: replies of each warm-up and each load, by turns.

    Raises:
        ValueError: there are not as many replies as the sizes say.
    """
    if sum(sizes) != len(replies):
        raise ValueError(f"the log holds {len(replies)} replies, the sizes say {sum(sizes)}")
    left = iter(replies)
    parts = [list(islice(left, size)) for size in sizes]
    compared = []
    for tier in sorted({tier for tier, _ in replies}):
        mine = [[reply for name, reply in part if name == tier] for part in parts]
        point = _fitted(mine[::2])
        for load, part in enumerate(mine[1::2], start=1):
            measured = np.quantile([reply.e2e_s for reply in part], _QUANTILES)
            simulated = np.quantile(_simulated_s(point, part), _QUANTILES)
            compared.append(
                Compared(tier, load, tuple(measured.tolist()), tuple(simulated.tolist()))
            )
    return compared


def _parsed(line: str) -> Mapping[str, Any] | None:
    try:
        entry: Mapping[str, Any] = json.loads(line)
    except ValueError:
        # A crash may leave half a line at the end.
        return None
    return entry


def _fitted(parts: Sequence[Sequence[Reply]]) -> NDArray[np.float64]:
    """The logarithms of a timing's parameters, and of the time of a hop, that come nearest."""
    start = np.log([*_START.values(), _HOP_S])

    def errors(point: NDArray[np.float64]) -> NDArray[np.float64]:
        pairs = [(_simulated_s(point, part), part) for part in parts]
        ratios = [s / r.e2e_s for times, part in pairs for s, r in zip(times, part, strict=True)]
        return np.log(ratios)

    # A reply more or less in a batch makes times jump, so slopes are taken over 2 %.
    found = least_squares(errors, start, bounds=(start - 5, start + 3), loss="soft_l1",
                          f_scale=0.1, diff_step=0.02)  # fmt: skip
    point: NDArray[np.float64] = found.x
    return point


def _simulated_s(point: NDArray[np.float64], replies: Sequence[Reply]) -> list[float]:
    *parameters, hop_s = np.exp(point).tolist()
    timing = EngineTiming(**dict(zip(_START, parameters, strict=True)))
    engine = Replica(
        timing, max_num_seqs=_SLOTS, max_batched_tokens=_BATCHED_TOKENS, kv_tokens=_KV_TOKENS,
        noise=random.Random(0),
    )  # fmt: skip
    began_s = replies[0].arrived_at_s
    finished_s: dict[int | str, float] = {}
    for index, reply in enumerate(replies):
        now = reply.arrived_at_s - began_s
        finished_s |= {end.request_id: end.finished_at_s for end in engine.advance(now)}
        engine.submit(
            index, prompt_tokens=reply.prompt_tokens, output_tokens=reply.output_tokens, now=now
        )
    finished_s |= {end.request_id: end.finished_at_s for end in engine.advance(float("inf"))}
    return [
        finished_s[index] - (reply.arrived_at_s - began_s) + hop_s
        for index, reply in enumerate(replies)
    ]


if __name__ == "__main__":
    log, sizes = Path(sys.argv[1]), [int(size) for size in sys.argv[2].split(",")]
    for row in compare(read_replies(log.read_text().splitlines()), sizes):
        print(row)
