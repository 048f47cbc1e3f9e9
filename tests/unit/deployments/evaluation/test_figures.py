"""What a variant lost is worked out place by place, on the same text."""

import math
from dataclasses import replace

import pytest

from deployments.evaluation.figures import Figures, difference


def some_figures(name: str = "original", **changes: object) -> Figures:
    figures = Figures(
        name, 100, 1.0, losses=(1.0, 2.0, 3.0), likeliest=(7, 8, 9), reply_tokens=((1, 2, 3),),
        reply_texts=("Paris.",), prefill_tokens_per_s={1: 10.0}, decode_tokens_per_s={1: 5.0},
    )  # fmt: skip
    return replace(figures, **changes)  # type: ignore[arg-type]


def test_perplexity_is_the_exponential_of_the_mean_loss() -> None:
    assert some_figures().perplexity == pytest.approx(math.exp(2.0))


def test_the_same_figures_differ_in_nothing() -> None:
    same = difference(some_figures(), some_figures("copy"))
    assert (same.perplexity_increase, same.perplexity_error, same.agreement) == (0.0, 0.0, 1.0)
    assert (same.same_replies, same.common_tokens) == (1, 3.0)


def test_the_increase_is_the_ratio_of_perplexities_with_its_own_error() -> None:
    # Given losses that are larger by 0.1, 0.2 and 0.3
    worse = some_figures("worse", losses=(1.1, 2.2, 3.3))

    # When
    found = difference(some_figures(), worse)

    # Then
    assert found.perplexity_increase == pytest.approx(math.exp(0.2) - 1)
    assert found.perplexity_error == pytest.approx(math.exp(0.2) * 0.1 / math.sqrt(3))


def test_agreement_counts_places_and_replies_until_the_first_difference() -> None:
    other = some_figures("other", likeliest=(7, 0, 9), reply_tokens=((1, 9, 3),))
    found = difference(some_figures(), other)
    assert found.agreement == pytest.approx(2 / 3)
    assert (found.same_replies, found.common_tokens) == (0, 1.0)


def test_a_reply_that_ends_early_is_not_the_same() -> None:
    found = difference(some_figures(), some_figures("short", reply_tokens=((1, 2),)))
    assert (found.same_replies, found.common_tokens) == (0, 2.0)


def test_models_with_different_tokenizers_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different tokenizers"):
        difference(some_figures(), some_figures("other", losses=(1.0, 2.0)))


def test_speeds_come_back_by_batch_size() -> None:
    # Given what the script wrote: JSON has only texts as keys
    probed = {
        "load_s": 2, "losses": [1.0], "likeliest": [5], "reply_tokens": [[1]],
        "reply_texts": ["a"], "prefill_tokens_per_s": {"32": 7}, "decode_tokens_per_s": {"32": 3},
    }  # fmt: skip
    assert Figures.of("x", 1, probed).decode_tokens_per_s == {32: 3.0}
