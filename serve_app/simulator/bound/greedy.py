"""Who could be served with all lengths known, by a greedy schedule. Jobs in, an Assignment out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from serve_app.simulator.bound.work import Job, Option

# How much a request's work elsewhere counts when a tier has to let one go.
_TRADES = (0.0, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Assignment:
    """By job, the option that serves it in time, or None."""

    chosen: tuple[Option | None, ...]

    @property
    def quality(self) -> float:
        return sum(option.quality for option in self.chosen if option is not None)

    @property
    def num_served(self) -> int:
        return sum(option is not None for option in self.chosen)


def greedy(jobs: Sequence[Job], replicas: Mapping[str, int]) -> Assignment:
    """Fills the best tier first, each as Moore and Hodgson fill a machine; the best of four tries.

    A tier of n replicas works n seconds a second, on whatever came, earliest deadline first. When a
    request would be late, the one among those of its busy period that holds the tier up most, less
    what it would cost the next tier, goes to that.

    Args:
        jobs: in the order of their deadlines.
    """
    return max((_try(jobs, replicas, trade) for trade in _TRADES), key=lambda tried: tried.quality)


def _try(jobs: Sequence[Job], replicas: Mapping[str, int], trade: float) -> Assignment:
    best = {
        tier: max((o.quality for job in jobs for o in job.options if o.tier == tier), default=0.0)
        for tier in replicas
    }
    order = sorted(replicas, key=lambda tier: best[tier], reverse=True)
    chosen: list[Option | None] = [None] * len(jobs)
    for place, tier in enumerate(order):
        later = order[place + 1 :]
        waiting = [
            (number, jobs[number], option, _work_elsewhere_s(jobs[number], later))
            for number, taken in enumerate(chosen)
            if taken is None
            for option in jobs[number].options
            if option.tier == tier
        ]
        for number, option in _fill(waiting, replicas[tier], trade):
            chosen[number] = option
    return Assignment(tuple(chosen))


def _work_elsewhere_s(job: Job, tiers: Sequence[str]) -> float:
    """What it takes on the tiers that are filled later; infinite when none of them can."""
    return min((o.work_s for o in job.options if o.tier in tiers), default=float("inf"))


def _fill(
    waiting: Sequence[tuple[int, Job, Option, float]], replicas: int, trade: float
) -> list[tuple[int, Option]]:
    """One tier: those that it serves in time."""
    kept: dict[int, Option] = {}
    # Of the present busy period, who goes first when somebody must.
    removable: list[tuple[float, int]] = []
    free_at_s = 0.0
    for number, job, option, elsewhere_s in waiting:
        if job.arrived_at_s >= free_at_s:
            removable.clear()
        worth_s = option.work_s - (trade * elsewhere_s if trade else 0.0)
        kept[number] = option
        heappush(removable, (-worth_s, number))
        free_at_s = max(free_at_s, job.arrived_at_s) + option.work_s / replicas
        while free_at_s > job.due_at_s and removable:
            _, gone = heappop(removable)
            free_at_s -= kept.pop(gone).work_s / replicas
    return _checked(waiting, kept, replicas)


def _checked(
    waiting: Sequence[tuple[int, Job, Option, float]], kept: Mapping[int, Option], replicas: int
) -> list[tuple[int, Option]]:
    """Played once more: a removal early in a busy period leaves gaps, and no gap can be used."""
    served, free_at_s = [], 0.0
    for number, job, option, _ in waiting:
        if number not in kept:
            continue
        end_s = max(free_at_s, job.arrived_at_s) + option.work_s / replicas
        if end_s <= job.due_at_s + 1e-9:
            served.append((number, option))
            free_at_s = end_s
    return served
