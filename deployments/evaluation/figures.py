"""What one model was measured to be, and how another differs from it. Pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """One model on one machine.

    losses: -log probability of each held-out token, natural logarithm. likeliest: the token that
    it would have written there. reply_tokens: its greedy replies. Speeds: tokens per second of the
    whole batch, by batch size. load_s: from a cold process to an engine that answers.
    """

    name: str
    weights_bytes: int
    load_s: float
    losses: tuple[float, ...]
    likeliest: tuple[int, ...]
    reply_tokens: tuple[tuple[int, ...], ...]
    reply_texts: tuple[str, ...]
    prefill_tokens_per_s: dict[int, float]
    decode_tokens_per_s: dict[int, float]

    @classmethod
    def of(cls, name: str, weights_bytes: int, probed: dict[str, Any]) -> "Figures":
        """From what `probe` wrote; JSON knows no whole numbers as keys."""
        return cls(
            name, weights_bytes, float(probed["load_s"]), tuple(probed["losses"]),
            tuple(probed["likeliest"]), tuple(map(tuple, probed["reply_tokens"])),
            tuple(probed["reply_texts"]), _by_size(probed["prefill_tokens_per_s"]),
            _by_size(probed["decode_tokens_per_s"]),
        )  # fmt: skip

    @property
    def perplexity(self) -> float:
        return math.exp(fmean(self.losses))


@dataclass(frozen=True, slots=True)
class Difference:
    """A variant beside the original, on the same text.

    perplexity_increase: 0.05 for five per cent more. perplexity_error: its standard error, from
    token by token differences, so that the text's own ups and downs do not count.
    agreement: share of held-out places where both would write the same token.
    same_replies: of how many questions the greedy reply is the same to its end.
    common_tokens: in the mean, how many tokens of a reply pass until the first difference.
    """

    perplexity_increase: float
    perplexity_error: float
    agreement: float
    same_replies: int
    common_tokens: float


def difference(original: Figures, variant: Figures) -> Difference:
    """
    Raises:
        ValueError: when the two did not read the same text.
    """
    if len(original.losses) != len(variant.losses) or len(original.losses) < 2:
        raise ValueError(
            f"{original.name} read {len(original.losses)} tokens and {variant.name} "
            f"{len(variant.losses)}: they have different tokenizers and cannot be compared"
        )
    extra = [theirs - ours for ours, theirs in zip(original.losses, variant.losses, strict=True)]
    ratio = math.exp(fmean(extra))
    pairs = list(zip(original.reply_tokens, variant.reply_tokens, strict=True))
    equal = [a == b for a, b in zip(original.likeliest, variant.likeliest, strict=True)]
    return Difference(
        perplexity_increase=ratio - 1,
        # By the delta method: d exp(x) = exp(x) dx.
        perplexity_error=ratio * stdev(extra) / math.sqrt(len(extra)),
        agreement=fmean(equal),
        same_replies=sum(a == b for a, b in pairs),
        common_tokens=fmean(_common_prefix(a, b) for a, b in pairs),
    )


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for index, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return index
    return min(len(a), len(b))


def _by_size(speeds: dict[str, float]) -> dict[int, float]:
    return {int(size): float(speed) for size, speed in speeds.items()}
