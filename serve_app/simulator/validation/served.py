"""How far the simulated engine is from engines that served. A decision log in, errors out.

    tandem bench calibration --live --config models.local.yaml --requests 600 --rounds 4
    python -m serve_app.simulator.validation.served DECISIONS.jsonl 10,50,10,50,10,50 4

The numbers say how many requests of the log, in the order of arrival, belong together: by turns a
warm-up and a load, and how often all of that is repeated. Timings are fitted to the warm-ups and to
every other reply of each load, and score the rest; then to the rest, and score those. So no reply
is scored by a timing that has seen it. How a shared machine's speed drifts within a load is taken
from the same half. Simulated engines get the same requests at the same times and are compared in
whole-reply times.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from serve_app.simulator.engine import EngineTiming
from serve_app.simulator.validation.one_machine import STEADY, Machine, Pace, Reply
from serve_app.simulator.validation.pace import fitted_pace

_START = {
    "weights_s": 0.03, "token_s": 1e-3, "context_token_s": 1e-6, "sequence_s": 1e-3,
    "prefill_s": 0.01,
}  # fmt: skip
_HOP_S = 0.01
_SLOWDOWN = 0.3
_QUANTILES = (0.5, 0.95)


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


def read_replies(lines: Iterable[str]) -> list[Reply]:
    """Whole replies, in the order of arrival."""
    entries = [entry for line in lines if (entry := _parsed(line)) and entry["status"] == 200]
    return [
        Reply(
            entry["tier"],
            entry["arrived_at_s"],
            next(c["prompt_tokens"] for c in entry["candidates"] if c["tier"] == entry["tier"]),
            entry["output_tokens"],
            entry["e2e_ms"] / 1e3,
        )
        for entry in sorted(entries, key=lambda entry: entry["arrived_at_s"])
    ]


def compare(replies: Sequence[Reply], sizes: Sequence[int], num_rounds: int = 1) -> list[Compared]:
    """Each tier at each load.

    Args:
        sizes: replies of each warm-up and each load, by turns, in each of the rounds.

    Raises:
        ValueError: there are not as many replies as the sizes say.
    """
    if sum(sizes) * num_rounds != len(replies):
        raise ValueError(
            f"the log holds {len(replies)} replies, the sizes say {sum(sizes) * num_rounds}"
        )
    left = iter(replies)
    parts = [list(islice(left, size)) for _ in range(num_rounds) for size in sizes]
    tiers = sorted({reply.tier for reply in replies})
    warm_ups = [(part, [True] * len(part)) for part in parts[::2]]
    loads = [(part, _every_other(part)) for part in parts[1::2]]
    times: defaultdict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for fitted_to in (loads, [(part, _others(chosen)) for part, chosen in loads]):
        machine = _fitted(tiers, [*warm_ups, *fitted_to])
        for index, (part, chosen) in enumerate(fitted_to):
            load = index % (len(sizes) // 2) + 1
            pace = fitted_pace(machine, part, chosen)
            for reply, simulated_s in _simulated(machine, part, _others(chosen), pace):
                times[reply.tier, load].append((reply.e2e_s, simulated_s))
    return [_compared(tier, load, pairs) for (tier, load), pairs in sorted(times.items())]


def _compared(tier: str, load: int, pairs: Sequence[tuple[float, float]]) -> Compared:
    measured, simulated = np.quantile(pairs, _QUANTILES, axis=0).T.tolist()
    return Compared(tier, load, tuple(measured), tuple(simulated))


def _parsed(line: str) -> Mapping[str, Any] | None:
    try:
        entry: Mapping[str, Any] = json.loads(line)
    except ValueError:
        # A crash may leave half a line at the end.
        return None
    return entry


def _every_other(part: Sequence[Reply]) -> list[bool]:
    """Of each tier's replies."""
    seen: Counter[str] = Counter()
    chosen = []
    for reply in part:
        seen[reply.tier] += 1
        chosen.append(seen[reply.tier] % 2 == 0)
    return chosen


def _others(chosen: Sequence[bool]) -> list[bool]:
    return [not one for one in chosen]


def _simulated(
    machine: Machine, part: Sequence[Reply], chosen: Sequence[bool], pace: Pace = STEADY
) -> Iterator[tuple[Reply, float]]:
    """The chosen replies beside their simulated times, all others simulated too."""
    return compress(zip(part, machine.e2e_s(part, pace), strict=True), chosen)


def _fitted(
    tiers: Sequence[str], parts: Sequence[tuple[Sequence[Reply], Sequence[bool]]]
) -> Machine:
    """The machine that comes nearest to the chosen replies of each part."""
    start = np.log([*([*_START.values(), _HOP_S] * len(tiers)), _SLOWDOWN])

    def errors(point: NDArray[np.float64]) -> NDArray[np.float64]:
        machine = _machine(tiers, point)
        ratios = [
            simulated_s / reply.e2e_s
            for part, chosen in parts
            for reply, simulated_s in _simulated(machine, part, chosen)
        ]
        return np.log(ratios)

    # A reply more or less in a batch makes times jump, so slopes are taken over 2 %.
    found = least_squares(errors, start, bounds=(start - 5, start + 3), loss="soft_l1",
                          f_scale=0.1, diff_step=0.02)  # fmt: skip
    return _machine(tiers, found.x)


def _machine(tiers: Sequence[str], point: NDArray[np.float64]) -> Machine:
    """By the logarithms of each tier's timing and hop, then of what sharing the machine adds."""
    values = iter(np.exp(point).tolist())
    timings, hop_s = {}, {}
    for tier in tiers:
        timings[tier] = EngineTiming(**dict(zip(_START, islice(values, len(_START)), strict=True)))
        hop_s[tier] = next(values)
    return Machine(timings, hop_s, 1.0 + next(values))


if __name__ == "__main__":
    log, sizes = Path(sys.argv[1]), [int(size) for size in sys.argv[2].split(",")]
    num_rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    for row in compare(read_replies(log.read_text().splitlines()), sizes, num_rounds):
        print(row)
