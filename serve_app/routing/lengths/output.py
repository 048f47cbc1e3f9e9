"""How long a reply will be. What was asked and what was seen in, a distribution of tokens out.

Reply lengths are neither constant nor monotone in the prompt (Azure's conversation trace: 111,
319, 341 and 80 tokens in the mean for four growing prompt bins), so nothing is fitted: they are
counted per route key and half-doubling of the prompt, each count shrunk to its parent's.
"""

from collections.abc import Mapping
from typing import Any

from mypy_extensions import mypyc_attr

from serve_app.routing.lengths.counts import Counts
from serve_app.routing.lengths.kinds import ALL, keys_of
from serve_app.routing.lengths.reply import LengthQuery, ReplyLength
from serve_app.routing.lengths.scores import Scores, loss


@mypyc_attr(allow_interpreted_subclasses=True)
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
        keys = keys_of(query)
        distribution = self._counts.distribution(keys[self._scores.best(query, keys)])
        return ReplyLength(distribution, min(query.least, query.most), query.most, query.sequences)

    def evidence(self, query: LengthQuery) -> float:
        """How many recent replies of its route stand behind a distribution."""
        own = self._counts.num_recent(keys_of(query)["route"])
        return own if self._shared is None else max(own, self._shared.evidence(query))

    def observe(self, query: LengthQuery, output_tokens: float, *, is_cut: bool = False) -> None:
        """Takes one reply; `is_cut`: it would have gone on (max_tokens, a cancel, a timeout)."""
        if query.least >= query.most:
            return
        keys = keys_of(query)
        if not is_cut:
            most, distribution = query.most, self._counts.distribution
            losses = {
                kind: loss(output_tokens, distribution(key).scored, most)
                for kind, key in keys.items()
            }
            self._scores.add(query, losses)
        shared = self._shared
        # What others are shrunk to comes first.
        for key in reversed(keys.values()):
            if shared is not None:
                shared._counts.add(key, output_tokens, is_cut=is_cut)
            self._counts.add(key, output_tokens, is_cut=is_cut)

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
