"""Keeps probabilities true, whatever the model behind them gets wrong. Scores in, scores out.

A prediction that is right says "at most s seconds" with probability p, and is right in a share p
of the cases: its scores, the normal quantiles of p at what really happened, are standard normal.
Here the score that is exceeded with each of a few probabilities is tracked instead of assumed:
z += gain * (share - was at most z). That is adaptive conformal inference (Gibbs and Candes, 2021)
on several levels, and with one offset per group a request belongs to, coverage holds within each
group, also where groups overlap (Bastani et al., 2022): the error is at most
range / (gain * observations), for any sequence of scores.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final

from serve_app.routing.learning.errors import all_within, within
from serve_app.routing.record import record

Scores = tuple[float, ...]

_NORMAL: Final = NormalDist()
_HALF_ROOT: Final = math.sqrt(0.5)
LEVELS: Final[Scores] = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""The shares that are tracked; between them is interpolated."""
_TARGETS: Final = tuple(_NORMAL.inv_cdf(level) for level in LEVELS)
# A group starts in larger steps and settles; guarantees hold for any such sequence of gains that
# does not fall to nothing (Angelopoulos et al., "Online conformal prediction with decaying step
# sizes", 2024).
_GAIN: Final = 0.012
_EARLY: Final = 20.0
_EARLY_FACTOR: Final = 4.0
_FARTHEST: Final = 2.5
LARGEST_SCORE: Final = 4.75
"""Scores are clipped here: one in a million."""
_MOST_GROUPS: Final = 256
_FORGOTTEN_FROM: Final = 50
_FORGOTTEN_BY_HALF: Final = 150

_NO_OFFSET: Final[Scores] = (0.0,) * len(LEVELS)
# What each level missed by, by how many of the ascending limits a score exceeded.
_MISSES: Final = tuple(
    tuple(level if rank < exceeded else level - 1.0 for rank, level in enumerate(LEVELS))
    for exceeded in range(len(LEVELS) + 1)
)


def score_of(probability: float) -> float:
    """The standard normal quantile of a probability, clipped."""
    if probability <= 1e-6:
        return -LARGEST_SCORE
    if probability >= 1 - 1e-6:
        return LARGEST_SCORE
    return within(LARGEST_SCORE, _NORMAL.inv_cdf(probability))


# What is asked of replies is one of a few shares, and asked again and again.
_score_of_asked = lru_cache(maxsize=256)(score_of)


def _share_below(score: float) -> float:
    """The normal distribution; `NormalDist.cdf` takes twice as long."""
    return 0.5 * math.erfc(-score * _HALF_ROOT)


@record
class Recalibration:
    """Maps a model's probability to the share of cases in which it came true, and back.

    scores: at which score each of `LEVELS` is reached, ascending.
    """

    scores: Scores = _TARGETS

    def true_probability(self, stated: float) -> float:
        """What a stated probability is worth. Monotone; 0 and 1 stay."""
        if stated <= 0.0 or stated >= 1.0:
            return min(1.0, max(0.0, stated))
        return _share_below(_interpolated(score_of(stated), self.scores, _TARGETS))

    def stated_probability(self, true: float) -> float:
        """What the model must state for `true` to be true; the inverse."""
        return _share_below(_interpolated(_score_of_asked(true), _TARGETS, self.scores))


@record
class _Offset:
    """Of one group. seen: how often; seen_at: how many had been observed when it last was."""

    scores: Scores
    seen: int
    seen_at: int

    def present(self, num_observed: int) -> Scores:
        """The scores, less the longer other groups were seen instead of this one.

        A load at which everything was late is not offered requests any more, and would never be
        seen to have recovered.
        """
        unseen = num_observed - self.seen_at
        if unseen < _FORGOTTEN_FROM:
            return self.scores
        kept = 0.5 ** (unseen / _FORGOTTEN_BY_HALF)
        return tuple([score * kept for score in self.scores])


_UNSEEN: Final = _Offset(_NO_OFFSET, 0, 0)


@record
class GroupOffsets:
    """The offsets of all groups at one moment; never changed.

    A group that was never seen adds nothing, so a request is judged by the groups that were: the
    one of everything at first, its own load, prompt and length later.
    """

    by_group: Mapping[str, _Offset]
    num_observed: int

    def recalibration(self, groups: Sequence[str]) -> Recalibration:
        """The map for a request of these groups."""
        scores = list(_TARGETS)
        for group in groups:
            offset = self.by_group.get(group)
            if offset is not None:
                present = offset.present(self.num_observed)
                scores = [scores[level] + present[level] for level in range(len(LEVELS))]
        # Levels are tracked apart and may cross for a while. The running maximum, not the sorted
        # order: each level must feel its own misses, or two that have changed places stay there.
        for level in range(1, len(scores)):
            if scores[level] < scores[level - 1]:
                scores[level] = scores[level - 1]
        return Recalibration(tuple(scores))


class GroupCalibration:
    """Tracks the scores of `LEVELS`, one offset per group.

    offsets: as they are now; replaced by each outcome.
    """

    def __init__(self) -> None:
        self.offsets = GroupOffsets({}, 0)

    def observe(
        self,
        groups: Sequence[str],
        issued: Recalibration,
        score: float,
        *,
        is_lower_bound: bool = False,
    ) -> None:
        """Takes the score of an outcome, or a lower bound of it where the reply was cut off.

        Below the bound nothing is known, so what is expected there is taken instead of a hit.

        Args:
            issued: the map that was in force when the prediction was made; what was promised then
                is what must hold, however long the outcome took.
        """
        misses = (
            _expected_misses(issued, score)
            if is_lower_bound
            else _MISSES[bisect_left(issued.scores, score)]
        )
        now = self.offsets.num_observed + 1
        by_group = dict(self.offsets.by_group)
        for group in groups:
            if group in by_group or len(by_group) < _MOST_GROUPS:
                by_group[group] = _moved(by_group.get(group, _UNSEEN), misses, now)
        self.offsets = GroupOffsets(by_group, now)

    def snapshot(self) -> dict[str, list[float]]:
        """By group, how often it was seen and its offsets, as plain values."""
        by_group = self.offsets.by_group
        return {group: [offset.seen, *offset.scores] for group, offset in by_group.items()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, TypeError: it is not such a snapshot.
        """
        rows = {str(g): [float(x) for x in values] for g, values in snapshot.items()}
        if any(len(row) != len(LEVELS) + 1 for row in rows.values()):
            raise ValueError(f"a group needs a count and {len(LEVELS)} offsets")
        now = self.offsets.num_observed
        by_group = {g: _Offset(tuple(row[1:]), int(row[0]), now) for g, row in rows.items()}
        self.offsets = GroupOffsets(by_group, now)


def _moved(offset: _Offset, misses: Scores, num_observed: int) -> _Offset:
    """One group's offsets after one more outcome."""
    seen = offset.seen
    gain = _GAIN * (1.0 + _EARLY / (_EARLY + seen) * _EARLY_FACTOR)
    present = offset.present(num_observed)
    scores = [present[level] + gain * misses[level] for level in range(len(LEVELS))]
    return _Offset(tuple(all_within(_FARTHEST, scores)), seen + 1, num_observed)


def _expected_misses(issued: Recalibration, score: float) -> Scores:
    """Of an outcome of which only a lower bound is known."""
    survived = 1.0 - issued.true_probability(_NORMAL.cdf(score))
    hits = [
        0.0 if score >= limit else max(0.0, 1.0 - (1.0 - level) / max(survived, 1e-9))
        for limit, level in zip(issued.scores, LEVELS, strict=True)
    ]
    return tuple(level - hit for level, hit in zip(LEVELS, hits, strict=True))


def _interpolated(x: float, xs: Scores, ys: Scores) -> float:
    """Piecewise linear through (xs, ys), with slope 1 beyond the ends."""
    if x <= xs[0]:
        return ys[0] + x - xs[0]
    if x >= xs[-1]:
        return ys[-1] + x - xs[-1]
    right = bisect_left(xs, x)
    x0, x1, y0, y1 = xs[right - 1], xs[right], ys[right - 1], ys[right]
    if x1 <= x0:
        return y0
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
