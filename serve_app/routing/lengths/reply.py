"""One reply's length as a distribution within its limits. Pure data and arithmetic, in tokens."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from serve_app.routing.learning.histogram import TOKENS, Shares
from serve_app.routing.record import record

_TOKENS: Final = np.array(TOKENS)


@record
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


SCORED: Final[tuple[float, ...]] = (0.5, 0.95)
"""The quantiles that ways to foresee a length are judged by."""


class LengthDistribution:
    """Shares of reply lengths, without any request's limits; shared and never changed.

    cumulative: share of replies up to each bin.
    """

    __slots__ = ("_cumulative_tokens", "_scored", "cumulative", "shares")

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        # Lists, because single numbers are looked up in them.
        self.cumulative: list[float] = shares.cumsum().tolist()
        # Many are made that nobody asks for more.
        self._cumulative_tokens: list[float] | None = None
        self._scored: tuple[tuple[float, float], ...] | None = None

    @property
    def cumulative_tokens(self) -> list[float]:
        """What replies up to each bin add to the mean."""
        if self._cumulative_tokens is None:
            self._cumulative_tokens = (self.shares * _TOKENS).cumsum().tolist()
        return self._cumulative_tokens

    @property
    def scored(self) -> tuple[tuple[float, float], ...]:
        """Each of `SCORED` with its quantile, in tokens."""
        if self._scored is None:
            self._scored = tuple((level, self.quantile(level)) for level in SCORED)
        return self._scored

    def quantile(self, probability: float) -> float:
        """Tokens that a share of `probability` of replies does not exceed."""
        index = bisect_left(self.cumulative, probability * self.cumulative[-1] * (1 - 1e-12))
        return TOKENS[min(index, len(TOKENS) - 1)]


# Never changed, but not frozen: one is made per tier and decision.
@dataclass(slots=True)
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
        self.mean = self._mean()

    @property
    def is_fixed(self) -> bool:
        return self.least >= self.most

    def shares_within(self, *counts: float) -> list[float]:
        """Shares of replies of at most so many tokens, each within the limits."""
        least, most, cumulative = self.least, self.most, self.distribution.cumulative
        shares = []
        for tokens in counts:
            if tokens >= most:
                shares.append(1.0)
            elif tokens < least:
                shares.append(0.0)
            else:
                index = bisect_right(TOKENS, tokens)
                share = cumulative[index - 1] if index else 0.0
                # All of them must be there: the longest counts.
                shares.append(share if self.sequences == 1 else share**self.sequences)
        return shares

    def between(self, more_than: float, at_most: float) -> tuple[list[float], list[float], float]:
        """Lengths in tokens and their shares, and the share of all that are shorter.

        Whoever would be shorter than `least` is as long as that, longer than `most` likewise.
        """
        least, most = self.least, self.most
        if at_most < least:
            return [], [], 0.0
        if least >= most:
            return [most], [1.0], 0.0
        end = bisect_left(TOKENS, min(at_most, most))
        first = min(end, bisect_right(TOKENS, max(more_than, least)))
        tokens = list(TOKENS[first:end])
        shares: list[float] = self.distribution.shares[first:end].tolist()
        cumulative = self.distribution.cumulative
        shorter = cumulative[first - 1] if first else 0.0
        not_longer = cumulative[end - 1] if end else 0.0
        if self.sequences > 1:
            # All of them must be there: the longest counts.
            longest = [share**self.sequences for share in (shorter, *cumulative[first:end])]
            shares = [share - below for below, share in pairwise(longest)]
            shorter, not_longer = longest[0], longest[-1]
        if at_most >= most:
            tokens.append(most)
            shares.append(1.0 - not_longer)
        if more_than < least:
            return [least, *tokens], [shorter, *shares], 0.0
        return tokens, shares, shorter

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
