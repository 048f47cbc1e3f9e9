"""Ways to foresee a reply's length: which counts each goes by, and what those are shrunk to."""

import math
from functools import lru_cache
from typing import Final

from serve_app.routing.learning.histogram import log_normal_shares
from serve_app.routing.lengths.reply import LengthDistribution, LengthQuery

_SPREAD_OF_HINT: Final = 0.4
_HINTS_PER_DOUBLING: Final = 4
# Counts in place of so many replies like the parent's.
_SHRINKAGE: Final = 50.0
# Where prompts of one length differ much from the rest, 50 replies of the rest would hide it long.
_SHRINKAGE_OF_NARROW: Final = 2.0

ALL: Final = "all"


def keys_of(query: LengthQuery) -> dict[str, str]:
    """Ways to foresee this request, the one to start with first, and the counts each goes by.

    Those are of half a doubling of the prompt (much shrunk, or hardly), the route, or everything,
    or of a quarter of a doubling of what the caller expects. Not to be changed.
    """
    return _keys_of(query.route, query.prompt_tokens, query.expected)


# Asked for by each tier, and again when the reply has come.
@lru_cache(maxsize=4096)
def _keys_of(route: str, prompt_tokens: int, expected: int | None) -> dict[str, str]:
    quarters = None
    if expected:
        quarters = round(_HINTS_PER_DOUBLING * math.log2(max(1, expected)))
    return _keys(route, round(2 * math.log2(max(1, prompt_tokens))), quarters)


@lru_cache(maxsize=4096)
def _keys(route: str, halves: int, quarters: int | None) -> dict[str, str]:
    keys = {} if quarters is None else {"expected": f"expected|{route}|{quarters}"}
    keys |= {kind: f"{kind}|{route}|{halves}" for kind in ("prompt", "narrow")}
    return {**keys, "route": f"route|{route}", ALL: ALL}


@lru_cache(maxsize=4096)
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
