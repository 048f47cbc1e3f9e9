"""What the router believes of reply lengths."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.routing.learning.histogram import TOKENS, RollingHistogram, bin_of
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.lengths.reply import LengthQuery, ReplyLength
from serve_app.routing.lengths.scores import pinball


def a_query(prompt_tokens: int = 512, **changes: object) -> LengthQuery:
    defaults: dict[str, object] = {
        "route": "default", "prompt_tokens": prompt_tokens, "expected": None, "least": 1,
        "most": 4096,
    }  # fmt: skip
    return LengthQuery(**(defaults | changes))  # type: ignore[arg-type]


def taught(lengths: OutputLengths, query: LengthQuery, tokens: int, times: int = 300) -> None:
    for _ in range(times):
        lengths.observe(query, tokens)


def test_the_configured_guess_is_forgotten() -> None:
    lengths = OutputLengths(default_tokens=1000)
    taught(lengths, a_query(), 20)
    assert lengths.reply(a_query()).mean == pytest.approx(20, rel=0.2)


def test_short_and_long_prompts_have_lengths_of_their_own() -> None:
    # Given that short prompts get long replies and long ones short replies
    lengths = OutputLengths(default_tokens=256)
    taught(lengths, a_query(200), 400)
    taught(lengths, a_query(3000), 40)
    # Then each is expected so, although the mean lies between
    assert lengths.reply(a_query(200)).mean > 300
    assert lengths.reply(a_query(3000)).mean < 100


def test_routes_do_not_disturb_each_other() -> None:
    lengths = OutputLengths(default_tokens=256)
    taught(lengths, a_query(route="summary"), 50)
    taught(lengths, a_query(route="story"), 900)
    assert lengths.reply(a_query(route="summary")).mean < 150


def test_a_distribution_is_kept_while_only_other_routes_are_seen() -> None:
    lengths = OutputLengths(default_tokens=256)
    for route in ("seldom", "often"):
        taught(lengths, a_query(route=route), 100)
    before = lengths.reply(a_query(route="seldom")).distribution
    taught(lengths, a_query(route="often"), 100)
    assert lengths.reply(a_query(route="seldom")).distribution is before


def test_an_expected_length_is_believed_until_it_is_seen_to_be_wrong() -> None:
    lengths = OutputLengths(default_tokens=256)
    hinted = a_query(expected=300)
    assert lengths.reply(hinted).mean == pytest.approx(325, rel=0.1)
    taught(lengths, hinted, 30)
    assert lengths.reply(hinted).mean < 60


def test_what_one_tier_found_out_about_expectations_holds_for_the_others() -> None:
    # Given callers who expect 300 tokens and get 40, all from the small tier
    together = OutputLengths(default_tokens=256)
    small, large = OutputLengths(256, together), OutputLengths(256, together)
    taught(small, a_query(expected=300), 40, times=60)
    # Then the large tier, which nobody asked, does not expect 300 either
    assert large.reply(a_query(expected=300)).mean < 60


def test_prompts_unlike_the_rest_are_told_apart_after_a_few_dozen_replies() -> None:
    # Given a route whose replies are long but for prompts of one length
    lengths = OutputLengths(default_tokens=256)
    for _ in range(60):
        taught(lengths, a_query(200), 400, times=3)
        taught(lengths, a_query(3000), 40, times=1)
    # Then hardly one in twenty of those is believed to be long
    distribution = lengths.reply(a_query(3000)).distribution
    assert distribution.quantile(0.95) < 100


def test_replies_cut_by_max_tokens_do_not_make_lengths_look_short() -> None:
    lengths = OutputLengths(default_tokens=256)
    before = lengths.reply(a_query()).mean
    for _ in range(300):
        lengths.observe(a_query(most=16), 16, is_cut=True)
    assert lengths.reply(a_query()).mean == pytest.approx(before, rel=0.25)


def test_a_fixed_length_is_exactly_that_and_teaches_nothing() -> None:
    lengths = OutputLengths(default_tokens=256)
    fixed = a_query(least=77, most=77)
    taught(lengths, fixed, 77)
    assert lengths.reply(fixed).mean == 77
    assert lengths.reply(a_query()).mean > 200


def test_callers_cannot_fill_the_memory_with_routes() -> None:
    lengths = OutputLengths(default_tokens=256)
    for index in range(5000):
        lengths.observe(a_query(route=f"r{index}"), 10)
    assert len(lengths.snapshot()["counts"]) <= 512
    assert len(lengths.snapshot()["losses"]) <= 2100


@given(
    seen=st.lists(st.integers(1, 100_000), max_size=30),
    least=st.integers(1, 500),
    more=st.integers(0, 5000),
)
def test_a_mean_lies_within_the_limits(seen: list[int], least: int, more: int) -> None:
    lengths = OutputLengths(default_tokens=256)
    for tokens in seen:
        lengths.observe(a_query(), tokens)
    reply = lengths.reply(a_query(least=least, most=least + more))
    assert least - 1e-6 <= reply.mean <= least + more + 1e-6


@given(st.lists(st.tuples(st.integers(1, 9000), st.integers(1, 9000), st.booleans()), max_size=40))
def test_saved_and_restored_lengths_are_the_same(
    observations: list[tuple[int, int, bool]],
) -> None:
    lengths, restored = OutputLengths(256), OutputLengths(256)
    for prompt_tokens, tokens, is_cut in observations:
        lengths.observe(a_query(prompt_tokens), tokens, is_cut=is_cut)
    restored.restore(lengths.snapshot())
    assert restored.snapshot() == lengths.snapshot()


def test_what_is_no_snapshot_is_refused() -> None:
    with pytest.raises(ValueError, match="weights"):
        OutputLengths(256).restore({"counts": {"all": [1.0]}, "losses": {}})


def test_a_mean_agrees_with_a_sum_over_lengths() -> None:
    lengths = OutputLengths(default_tokens=100)
    reply = lengths.reply(a_query(least=20, most=300))
    shares = reply.distribution.shares
    by_hand = sum(
        share * min(300, max(20, tokens)) for share, tokens in zip(shares, TOKENS, strict=True)
    )
    assert reply.mean == pytest.approx(by_hand, rel=1e-6)


def test_a_capped_reply_keeps_its_distribution() -> None:
    reply = OutputLengths(256).reply(a_query())
    assert reply.capped(10) == ReplyLength(reply.distribution, 1, 10)


def test_a_histogram_forgets_what_is_long_ago() -> None:
    histogram = RollingHistogram()
    for _ in range(3000):
        histogram.add(10)
    for _ in range(1500):
        histogram.add(1000)
    assert histogram.weights[bin_of(1000)] > 10 * histogram.weights[bin_of(10)]
    assert histogram.count <= 501


def test_the_true_quantile_has_the_least_pinball_loss() -> None:
    noise = random.Random(1)
    seen = [noise.expovariate(1.0) for _ in range(4000)]
    losses = {q: sum(pinball(x, q, 0.9) for x in seen) for q in (1.5, 2.3026, 3.5)}
    assert min(losses, key=lambda q: losses[q]) == 2.3026
