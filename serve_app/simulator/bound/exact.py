"""The most that any schedule serves with all lengths known, by integer programming. Small cases.

Which requests a tier serves in time is possible exactly when, for each span from an arrival to a
deadline, what lies wholly within it is no more work than the tier does in that time (Horn 1974, for
a machine that can switch at will). Solved by HiGHS through scipy.
"""

from collections.abc import Mapping, Sequence

from serve_app.simulator.bound.greedy import Assignment
from serve_app.simulator.bound.work import Job, Option

_MOST_JOBS = 80


def exact(jobs: Sequence[Job], replicas: Mapping[str, int]) -> Assignment:
    """The assignment of the highest quality.

    Raises:
        ValueError: there are more jobs than it is made for.
        RuntimeError: scipy is missing, or HiGHS gave up.
    """
    if len(jobs) > _MOST_JOBS:
        raise ValueError(f"{len(jobs)} requests are too many for the exact bound ({_MOST_JOBS}).")
    try:
        import numpy as np
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import lil_matrix
    except ImportError as err:
        raise RuntimeError(
            "The exact bound needs scipy: pip install 'tandem-serve[bench]'."
        ) from err
    columns = [(number, option) for number, job in enumerate(jobs) for option in job.options]
    if not columns:
        return Assignment((None,) * len(jobs))
    spans = [
        (tier, start_s, end_s)
        for tier in replicas
        for start_s in sorted({job.arrived_at_s for job in jobs})
        for end_s in sorted({job.due_at_s for job in jobs})
        if end_s > start_s
    ]
    matrix = lil_matrix((len(jobs) + len(spans), len(columns)))
    for column, (number, _) in enumerate(columns):
        matrix[number, column] = 1.0
    limits = [1.0] * len(jobs)
    for row, (tier, start_s, end_s) in enumerate(spans, start=len(jobs)):
        for column, (number, option) in enumerate(columns):
            job = jobs[number]
            if option.tier == tier and start_s <= job.arrived_at_s and job.due_at_s <= end_s:
                matrix[row, column] = option.work_s
        limits.append((end_s - start_s) * replicas[tier])
    solved = milp(
        c=[-option.quality for _, option in columns],
        constraints=LinearConstraint(matrix.tocsr(), -np.inf, limits),
        integrality=np.ones(len(columns)),
        bounds=Bounds(0, 1),
    )
    if solved.x is None:
        raise RuntimeError(f"HiGHS found no assignment: {solved.message}")
    chosen: list[Option | None] = [None] * len(jobs)
    for (number, option), share in zip(columns, solved.x, strict=True):
        if share > 0.5:
            chosen[number] = option
    return Assignment(tuple(chosen))
