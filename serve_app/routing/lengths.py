"""How long a reply will be. What was asked and what was seen in, a distribution of tokens out.

Reply lengths are neither constant nor monotone in the prompt (Azure's conversation trace: 111,
319, 341 and 80 tokens in the mean for four growing prompt bins), so nothing is fitted: they are
counted per route key and half-doubling of the prompt, each count shrunk to its parent's.
"""

import math
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any, TypeVar

from serve_app.routing.learning.histogram import TOKENS, RollingHistogram, log_normal_shares

_Key = TypeVar("_Key")
_Kept = TypeVar("_Kept")

_SHRINKAGE = 50.0
_PRIOR_COUNT = 5.0
_SPREAD_OF_DEFAULT = 1.0
_SPREAD_OF_HINT = 0.4
_HINTS_PER_DOUBLING = 4
_MOST_COUNTS = 512
_SCORE_GAIN = 0.02
_SCORES_BEFORE_CHOICE = 30
_STALE_AFTER, _STALE_AFTER_ABOVE = 16, 64
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
    """The length of one request's reply as a distribution within its limits, in tokens.

    mean: expected tokens of one sequence.
    """

    distribution: LengthDistribution
    least: int
    most: int
    sequences: int = 1
    mean: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self._mean())

    @property
    def is_fixed(self) -> bool:
        return self.least >= self.most

    def capped(self, most: int) -> "ReplyLength":
        """The same reply under a smaller max_tokens."""
        return ReplyLength(self.distribution, min(self.least, most), most, self.sequences)

    def _mean(self) -> float:
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
        self._prior = LengthDistribution(log_normal_shares(default_tokens, _SPREAD_OF_DEFAULT))
        self._counts: OrderedDict[str, _Counts] = OrderedDict()
        self._losses: dict[str, tuple[float, int]] = {}
        # By route and whether a length is named, until a loss there changes.
        self._best_kinds: dict[tuple[str, bool], str] = {}

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
        own = counts.histogram.count if counts is not None else 0.0
        return own if self._shared is None else max(own, self._shared.evidence(query))

    def observe(self, query: LengthQuery, output_tokens: float, *, is_cut: bool = False) -> None:
        """Takes one reply; `is_cut`: it would have gone on (max_tokens, a cancel, a timeout)."""
        if query.least >= query.most:
            return
        if self._shared is not None:
            # Nobody asks there which kind is best, so kinds are scored only here.
            self._shared._count(query, output_tokens, is_cut=is_cut)
        if not is_cut:
            self._score(query, output_tokens)
        self._count(query, output_tokens, is_cut=is_cut)

    def snapshot(self) -> dict[str, Any]:
        """All that was counted, as plain values."""
        return {
            "counts": {key: counts.histogram.snapshot() for key, counts in self._counts.items()},
            "losses": {key: list(loss) for key, loss in self._losses.items()},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, KeyError, TypeError: it is not such a snapshot.
        """
        counts = {str(k): _Counts(_checked(w)) for k, w in dict(snapshot["counts"]).items()}
        losses = {str(k): (float(v[0]), int(v[1])) for k, v in dict(snapshot["losses"]).items()}
        self._counts = OrderedDict(counts)
        self._losses = losses
        self._best_kinds.clear()

    def _best_kind(self, query: LengthQuery) -> str:
        asked = (query.route, bool(query.expected))
        best = self._best_kinds.get(asked)
        if best is None:
            best = _bounded(self._best_kinds)[asked] = self._least_lossy(query)
        return best

    def _least_lossy(self, query: LengthQuery) -> str:
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
        self._best_kinds.pop((query.route, bool(query.expected)), None)

    def _count(self, query: LengthQuery, output_tokens: float, *, is_cut: bool) -> None:
        for kind in reversed(_kinds(query)):
            key = _key(kind, query)
            beyond = self._distribution(key).shares if is_cut else None
            self._counts_of(key).add(output_tokens, beyond)

    def _distribution(self, key: str) -> LengthDistribution:
        """Of a key's counts, made again when they have changed by enough; else its parent's."""
        counts = self._counts.get(key)
        if counts is None:
            return self._parent(key)[0]
        above = self._num_above(key)
        if counts.made is not None and not counts.is_stale(above):
            return counts.made
        parent, weight = self._parent(key)
        return counts.make(parent, weight, above)

    def _parent(self, key: str) -> tuple[LengthDistribution, float]:
        """What a key's counts are shrunk to, and as how many observations it counts."""
        if self._shared is not None:
            return self._shared._distribution(key), _SHRINKAGE
        if key == "all":
            return self._prior, _PRIOR_COUNT
        parent = _parent_key(key)
        if parent is not None:
            return self._distribution(parent), _SHRINKAGE
        return _hinted(int(key.rpartition("|")[2])), _SHRINKAGE

    def _num_above(self, key: str) -> int:
        """How many observations the parent's distribution rests on."""
        if self._shared is not None:
            counts = self._shared._counts.get(key)
        else:
            parent = _parent_key(key)
            counts = self._counts.get(parent) if parent is not None else None
        return counts.num_seen if counts is not None else 0

    def _counts_of(self, key: str) -> "_Counts":
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = _Counts(RollingHistogram())
        self._counts.move_to_end(key)
        while len(self._counts) > _MOST_COUNTS:
            # Callers choose route keys; the least recently used count makes room.
            self._counts.popitem(last=False)
        return counts


class _Counts:
    """One key's counts, and the distribution last made of them.

    num_seen: lengths counted. It is made again when that or the parent's has grown by a quarter, or
    by `_STALE_AFTER` or `_STALE_AFTER_ABOVE`: what comes elsewhere makes nothing stale.
    """

    __slots__ = ("_above_then", "_seen_then", "histogram", "made", "num_seen")

    def __init__(self, histogram: RollingHistogram) -> None:
        self.histogram = histogram
        self.num_seen = round(histogram.count)
        self.made: LengthDistribution | None = None
        self._seen_then = self._above_then = 0

    def add(self, tokens: float, beyond: tuple[float, ...] | None) -> None:
        """Counts a length; with `beyond`, the shares of longer ones, it was only cut there."""
        if beyond is None:
            self.histogram.add(tokens)
        else:
            self.histogram.add_beyond(tokens, beyond)
        self.num_seen += 1

    def is_stale(self, num_above: int) -> bool:
        newer, newer_above = self.num_seen - self._seen_then, num_above - self._above_then
        return newer >= min(_STALE_AFTER, 1 + self._seen_then // 4) or (
            newer_above >= min(_STALE_AFTER_ABOVE, 1 + self._above_then // 4)
        )

    def make(self, parent: LengthDistribution, weight: float, num_above: int) -> LengthDistribution:
        """Makes the distribution afresh."""
        made = LengthDistribution(self.histogram.shares_above(parent.shares, weight))
        self.made, self._seen_then, self._above_then = made, self.num_seen, num_above
        return made


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


def _parent_key(key: str) -> str | None:
    """None where nothing is counted above: of everything, and of expected lengths."""
    kind, _, rest = key.partition("|")
    if kind == "prompt":
        return f"route|{rest.rpartition('|')[0]}"
    return "all" if kind == "route" else None


@lru_cache
def _hinted(step: int) -> LengthDistribution:
    """What comes of an expectation, before any was seen to come true."""
    hint = 2 ** (step / _HINTS_PER_DOUBLING)
    return LengthDistribution(log_normal_shares(hint, _SPREAD_OF_HINT))


def _score_key(kind: str, query: LengthQuery) -> str:
    return f"{query.route}|{'hinted' if query.expected else 'plain'}|{kind}"


def _bounded(kept: dict[_Key, _Kept]) -> dict[_Key, _Kept]:
    """Emptied when callers' route keys have filled it; it is learned again."""
    if len(kept) > 4 * _MOST_COUNTS:
        kept.clear()
    return kept


def _checked(weights: Any) -> RollingHistogram:
    values = [float(weight) for weight in weights]
    if len(values) != len(TOKENS) or not all(0 <= w < math.inf for w in values):
        raise ValueError(f"a histogram needs {len(TOKENS)} weights of 0 or more")
    return RollingHistogram(values)
