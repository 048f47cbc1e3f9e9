"""How long a reply will be. What was asked and what was seen in, a distribution of tokens out.

Reply lengths are neither constant nor monotone in the prompt (Azure's conversation trace: 111,
319, 341 and 80 tokens in the mean for four growing prompt bins), so nothing is fitted: they are
counted per route key and half-doubling of the prompt, each count shrunk to its parent's.
"""

import math
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

from serve_app.routing.learning.histogram import TOKENS, RollingHistogram, log_normal_shares

_Kept = TypeVar("_Kept")

_SHRINKAGE = 50.0
_PRIOR_COUNT = 5.0
_SPREAD_OF_DEFAULT = 1.0
_SPREAD_OF_HINT = 0.4
_HINTS_PER_DOUBLING = 4
_MOST_COUNTS = 512
_SCORE_GAIN = 0.02
_SCORES_BEFORE_CHOICE = 30
_STALE_AFTER = 16
_SCORED_QUANTILES = (0.5, 0.95)


@dataclass(frozen=True, slots=True)
class LengthQuery:
    """What is known of a reply's length before it is written, in tokens.

    route: what kind of request it is (task or class). expected: the caller's own guess. least and
    most: limits; equal when the length is fixed. sequences: replies that must all be finished.
    """

    route: str
    prompt_tokens: int
    expected: int | None
    least: int
    most: int
    sequences: int = 1


class LengthDistribution:
    """Shares of reply lengths, without any request's limits; shared and never changed.

    cumulative: share of replies up to each bin. cumulative_tokens: their part of the mean.
    """

    __slots__ = ("cumulative", "cumulative_tokens", "shares")

    def __init__(self, shares: tuple[float, ...]) -> None:
        self.shares = shares
        self.cumulative = tuple(accumulate(shares))
        self.cumulative_tokens = tuple(
            accumulate(share * tokens for share, tokens in zip(shares, TOKENS, strict=True))
        )

    def quantile(self, probability: float) -> float:
        """Tokens that a share of `probability` of replies does not exceed."""
        index = bisect_left(self.cumulative, probability * self.cumulative[-1] * (1 - 1e-12))
        return TOKENS[min(index, len(TOKENS) - 1)]


@dataclass(frozen=True, slots=True)
class ReplyLength:
    """The length of one request's reply as a distribution within its limits, in tokens."""

    distribution: LengthDistribution
    least: int
    most: int
    sequences: int = 1

    @property
    def is_fixed(self) -> bool:
        return self.least >= self.most

    @property
    def mean(self) -> float:
        """Expected tokens of one sequence."""
        if self.is_fixed:
            return float(self.most)
        below_most = bisect_left(TOKENS, self.most)
        below_least = bisect_left(TOKENS, self.least)
        shares, tokens = self.distribution.cumulative, self.distribution.cumulative_tokens
        short = shares[below_least - 1] if below_least else 0.0
        short_tokens = tokens[below_least - 1] if below_least else 0.0
        rest = shares[below_most - 1] if below_most else 0.0
        rest_tokens = tokens[below_most - 1] if below_most else 0.0
        return short * self.least + rest_tokens - short_tokens + (1.0 - rest) * self.most

    def capped(self, most: int) -> "ReplyLength":
        """The same reply under a smaller max_tokens."""
        return ReplyLength(self.distribution, min(self.least, most), most, self.sequences)


class OutputLengths:
    """Counts one tier's reply lengths.

    A reply's distribution comes from its (route, prompt) count, its route's, or, when the caller
    named an expected length, from what came of such expectations: whichever had the smaller
    pinball loss lately on requests of its route.

    Args:
        default_tokens: believed before anything was seen.
        shared: what was seen on all tiers together; a tier's own counts are shrunk to it, so that
            a tier that answers seldom still knows what is asked here.
    """

    def __init__(self, default_tokens: int, shared: "OutputLengths | None" = None) -> None:
        self._shared = shared
        self._prior = log_normal_shares(default_tokens, _SPREAD_OF_DEFAULT)
        self._counts: OrderedDict[str, RollingHistogram] = OrderedDict()
        self._losses: dict[str, tuple[float, int]] = {}
        self._cache: dict[str, tuple[int, LengthDistribution]] = {}
        self._num_seen = 0

    @property
    def mean_tokens(self) -> float:
        """Mean length over everything seen lately."""
        return self._distribution("all").cumulative_tokens[-1]

    def reply(self, query: LengthQuery) -> ReplyLength:
        """The distribution to plan with. O(1) unless its counts have changed much."""
        kind = self._best_kind(query)
        distribution = self._distribution(_key(kind, query))
        return ReplyLength(distribution, min(query.least, query.most), query.most, query.sequences)

    def evidence(self, query: LengthQuery) -> float:
        """How many recent replies of its route stand behind a distribution."""
        counts = self._counts.get(_key("route", query))
        own = counts.count if counts is not None else 0.0
        return own if self._shared is None else max(own, self._shared.evidence(query))

    def observe(self, query: LengthQuery, output_tokens: float, *, is_cut: bool = False) -> None:
        """Takes one reply; `is_cut`: it would have gone on (max_tokens, a cancel, a timeout)."""
        if query.least >= query.most:
            return
        if self._shared is not None:
            self._shared.observe(query, output_tokens, is_cut=is_cut)
        if not is_cut:
            self._score(query, output_tokens)
        for kind in reversed(_kinds(query)):
            key = _key(kind, query)
            if is_cut:
                shares = self._distribution(key).shares
                self._count(key).add_beyond(output_tokens, shares)
            else:
                self._count(key).add(output_tokens)
        self._num_seen += 1

    def snapshot(self) -> dict[str, Any]:
        """All that was counted, as plain values."""
        return {
            "counts": {key: counts.snapshot() for key, counts in self._counts.items()},
            "losses": {key: list(loss) for key, loss in self._losses.items()},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, KeyError, TypeError: it is not such a snapshot.
        """
        counts = {str(key): _checked(weights) for key, weights in dict(snapshot["counts"]).items()}
        losses = {str(k): (float(v[0]), int(v[1])) for k, v in dict(snapshot["losses"]).items()}
        self._counts = OrderedDict(counts)
        self._losses = losses
        self._cache.clear()

    def _best_kind(self, query: LengthQuery) -> str:
        kinds = _kinds(query)
        losses = {kind: self._losses.get(_score_key(kind, query), (0.0, 0)) for kind in kinds}
        if min(seen for _, seen in losses.values()) < _SCORES_BEFORE_CHOICE:
            return kinds[0]
        return min(kinds, key=lambda kind: losses[kind][0])

    def _score(self, query: LengthQuery, output_tokens: float) -> None:
        for kind in _kinds(query):
            distribution = self._distribution(_key(kind, query))
            loss = sum(
                pinball(output_tokens, min(distribution.quantile(q), query.most), q)
                for q in _SCORED_QUANTILES
            )
            key = _score_key(kind, query)
            mean, seen = self._losses.get(key, (loss, 0))
            gain = max(_SCORE_GAIN, 1.0 / (seen + 1))
            _bounded(self._losses)[key] = (mean + gain * (loss - mean), seen + 1)

    def _distribution(self, key: str) -> LengthDistribution:
        seen = self._num_seen if self._shared is None else self._shared._num_seen
        cached = self._cache.get(key)
        if cached is not None and seen - cached[0] < min(_STALE_AFTER, 1 + cached[0]):
            return cached[1]
        distribution = LengthDistribution(self._shares(key))
        _bounded(self._cache)[key] = (seen, distribution)
        return distribution

    def _shares(self, key: str) -> tuple[float, ...]:
        parent, weight = self._parent(key)
        counts = self._counts.get(key)
        return parent if counts is None else counts.shares_above(parent, weight)

    def _parent(self, key: str) -> tuple[tuple[float, ...], float]:
        if self._shared is not None:
            return self._shared._distribution(key).shares, _SHRINKAGE
        kind, _, rest = key.partition("|")
        if kind == "all":
            return self._prior, _PRIOR_COUNT
        if kind == "route":
            return self._distribution("all").shares, _SHRINKAGE
        route, _, step = rest.rpartition("|")
        if kind == "prompt":
            return self._distribution(f"route|{route}").shares, _SHRINKAGE
        hint = 2 ** (int(step) / _HINTS_PER_DOUBLING)
        return log_normal_shares(hint, _SPREAD_OF_HINT), _SHRINKAGE

    def _count(self, key: str) -> RollingHistogram:
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = RollingHistogram()
        self._counts.move_to_end(key)
        while len(self._counts) > _MOST_COUNTS:
            # Callers choose route keys; the least recently used count makes room.
            dropped, _ = self._counts.popitem(last=False)
            self._cache.pop(dropped, None)
        return counts


def pinball(actual: float, predicted: float, probability: float) -> float:
    """Loss of a predicted quantile (Koenker and Bassett 1978); the true quantile minimizes it."""
    return max(probability * (actual - predicted), (probability - 1.0) * (actual - predicted))


def _kinds(query: LengthQuery) -> tuple[str, ...]:
    """Ways to predict this request, the one to start with first."""
    return ("expected", "prompt", "route", "all") if query.expected else ("prompt", "route", "all")


def _key(kind: str, query: LengthQuery) -> str:
    if kind == "all":
        return "all"
    if kind == "route":
        return f"route|{query.route}"
    if kind == "prompt":
        return f"prompt|{query.route}|{round(2 * math.log2(max(1, query.prompt_tokens)))}"
    quarters = round(_HINTS_PER_DOUBLING * math.log2(max(1, query.expected or 1)))
    return f"expected|{query.route}|{quarters}"


def _score_key(kind: str, query: LengthQuery) -> str:
    return f"{query.route}|{'hinted' if query.expected else 'plain'}|{kind}"


def _bounded(kept: dict[str, _Kept]) -> dict[str, _Kept]:
    """Emptied when callers' route keys have filled it; it is learned again."""
    if len(kept) > 4 * _MOST_COUNTS:
        kept.clear()
    return kept


def _checked(weights: Any) -> RollingHistogram:
    values = [float(weight) for weight in weights]
    if len(values) != len(TOKENS) or not all(0 <= w < math.inf for w in values):
        raise ValueError(f"a histogram needs {len(TOKENS)} weights of 0 or more")
    return RollingHistogram(values)
