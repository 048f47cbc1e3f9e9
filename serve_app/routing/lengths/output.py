"""How long a reply will be. What was asked and what was seen in, a distribution of tokens out.

Reply lengths are neither constant nor monotone in the prompt (Azure's conversation trace: 111,
319, 341 and 80 tokens in the mean for four growing prompt bins), so nothing is fitted: they are
counted per route key and half-doubling of the prompt, each count shrunk to its parent's.
"""

from collections.abc import Mapping
from typing import Any

from serve_app.routing.lengths.counts import Counts
from serve_app.routing.lengths.kinds import ALL, key_of, kinds_of
from serve_app.routing.lengths.reply import LengthQuery, ReplyLength
from serve_app.routing.lengths.scores import Scores, pinball

_SCORED_QUANTILES = (0.5, 0.95)


class OutputLengths:
    """Foresees one tier's reply lengths from those it counted.

    A reply's distribution comes from its prompt's count (much or little shrunk to its route's), its
    route's, or, when the caller named an expected length, from what came of such expectations:
    whichever had the smaller pinball loss lately on requests of its route, on any tier.

    Args:
        default_tokens: believed before anything was seen.
        shared: what was seen on all tiers together; a tier's own counts are shrunk to it, so that
            a tier that answers seldom still knows what is asked here.
    """

    def __init__(self, default_tokens: int, shared: "OutputLengths | None" = None) -> None:
        self._shared = shared
        self._counts: Counts = Counts(
            default_tokens, shared._counts if shared is not None else None
        )
        self._scores: Scores = shared._scores if shared is not None else Scores()

    @property
    def mean_tokens(self) -> float:
        """Mean length over everything seen lately."""
        return self._counts.distribution(ALL).cumulative_tokens[-1]

    def reply(self, query: LengthQuery) -> ReplyLength:
        """The distribution to plan with. O(1) unless its counts have changed much."""
        kind = self._scores.best(query, kinds_of(query))
        distribution = self._counts.distribution(key_of(kind, query))
        return ReplyLength(distribution, min(query.least, query.most), query.most, query.sequences)

    def evidence(self, query: LengthQuery) -> float:
        """How many recent replies of its route stand behind a distribution."""
        own = self._counts.num_recent(key_of("route", query))
        return own if self._shared is None else max(own, self._shared.evidence(query))

    def observe(self, query: LengthQuery, output_tokens: float, *, is_cut: bool = False) -> None:
        """Takes one reply; `is_cut`: it would have gone on (max_tokens, a cancel, a timeout)."""
        if query.least >= query.most:
            return
        if not is_cut:
            losses = {kind: self._loss(kind, query, output_tokens) for kind in kinds_of(query)}
            self._scores.add(query, losses)
        if self._shared is not None:
            self._shared._count(query, output_tokens, is_cut=is_cut)
        self._count(query, output_tokens, is_cut=is_cut)

    def snapshot(self) -> dict[str, Any]:
        """All that was counted, as plain values; what tiers share is in the shared one's."""
        scores = {} if self._shared is not None else self._scores.snapshot()
        return {"counts": self._counts.snapshot(), "losses": scores}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave.

        Raises:
            ValueError, KeyError, TypeError: it is not such a snapshot.
        """
        counts, losses = dict(snapshot["counts"]), dict(snapshot["losses"])
        self._counts.restore(counts)
        if self._shared is None:
            self._scores.restore(losses)

    def _loss(self, kind: str, query: LengthQuery, output_tokens: float) -> float:
        distribution = self._counts.distribution(key_of(kind, query))
        return sum(
            pinball(output_tokens, min(distribution.quantile(q), query.most), q)
            for q in _SCORED_QUANTILES
        )

    def _count(self, query: LengthQuery, output_tokens: float, *, is_cut: bool) -> None:
        for kind in reversed(kinds_of(query)):
            self._counts.add(key_of(kind, query), output_tokens, is_cut=is_cut)
