"""Ways to foresee a reply's length: which counts each goes by, and what those are shrunk to."""

import math
from functools import lru_cache

from serve_app.routing.learning.histogram import log_normal_shares
from serve_app.routing.lengths.reply import LengthDistribution, LengthQuery

_SPREAD_OF_HINT = 0.4
_HINTS_PER_DOUBLING = 4
# Counts in place of so many replies like the parent's.
_SHRINKAGE = 50.0
# Where prompts of one length differ much from the rest, 50 replies of the rest would hide it long.
_SHRINKAGE_OF_NARROW = 2.0

ALL = "all"


def kinds_of(query: LengthQuery) -> tuple[str, ...]:
    """Ways to foresee this request, the one to start with first."""
    counted = ("prompt", "narrow", "route", ALL)
    return ("expected", *counted) if query.expected else counted


def key_of(kind: str, query: LengthQuery) -> str:
    """The counts that a kind goes by: of everything, a route, half a doubling of the prompt, or a
    quarter of a doubling of what the caller expects.
    """
    if kind == ALL:
        return ALL
    if kind == "route":
        return f"route|{query.route}"
    if kind == "expected":
        quarters = round(_HINTS_PER_DOUBLING * math.log2(max(1, query.expected or 1)))
        return f"expected|{query.route}|{quarters}"
    return f"{kind}|{query.route}|{round(2 * math.log2(max(1, query.prompt_tokens)))}"


def parent_of(key: str) -> str | None:
    """None where nothing is counted above: of everything, and of expected lengths."""
    kind, _, rest = key.partition("|")
    if kind == "narrow":
        return f"prompt|{rest}"
    if kind == "prompt":
        return f"route|{rest.rpartition('|')[0]}"
    return ALL if kind == "route" else None


def shrinkage_of(key: str) -> float:
    """As how many observations its parent's distribution counts."""
    return _SHRINKAGE_OF_NARROW if key.startswith("narrow|") else _SHRINKAGE


def hinted(key: str) -> LengthDistribution:
    """What comes of an expectation, before any was seen to come true."""
    return _around(int(key.rpartition("|")[2]))


@lru_cache
def _around(step: int) -> LengthDistribution:
    hint = 2 ** (step / _HINTS_PER_DOUBLING)
    return LengthDistribution(log_normal_shares(hint, _SPREAD_OF_HINT))
