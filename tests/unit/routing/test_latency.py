"""The formula: speeds and load in, seconds out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.routing.latency import IDLE, LatencyProfile, TierLoad, predict
from tests.unit.builders import FAST, busy


def seconds(load: TierLoad, prompt_tokens: int = 100, output_tokens: int = 11) -> float:
    time = predict(
        FAST, load, prompt_tokens=prompt_tokens, output_tokens=output_tokens, sequences=1,
        max_num_seqs=16,
    )  # fmt: skip
    return time.e2e_s(output_tokens)


def test_a_whole_reply_is_wait_prefill_and_steps() -> None:
    time = predict(
        FAST, busy(3, 1000, 0.5), prompt_tokens=100, output_tokens=11, sequences=1,
        max_num_seqs=16,
    )  # fmt: skip
    assert time.wait_s == pytest.approx(0.5 + 1000 * 1e-4)
    assert time.prefill_s == pytest.approx(0.02 + 100 * 1e-4)
    assert time.e2e_s(11) == pytest.approx(time.ttft_s + 10 * (0.01 + 4 * 1e-4))


def test_prefills_of_others_stretch_each_step() -> None:
    half = predict(
        FAST, TierLoad(blocked_share=0.5), prompt_tokens=1, output_tokens=9, sequences=1,
        max_num_seqs=16,
    )  # fmt: skip
    alone = predict(FAST, IDLE, prompt_tokens=1, output_tokens=9, sequences=1, max_num_seqs=16)
    assert half.step_s == pytest.approx(2 * alone.step_s)


def test_a_long_reply_meets_the_usual_batch_and_a_short_one_that_of_now() -> None:
    load = TierLoad(sequences=0, mean_sequences=10, turnover_s=1.0)
    batches = [
        predict(FAST, load, prompt_tokens=1, output_tokens=tokens, sequences=1, max_num_seqs=16)
        for tokens in (1, 10_000)
    ]
    assert batches[0].batch == pytest.approx(1.0, abs=0.3)
    assert batches[1].batch == pytest.approx(11.0, abs=0.3)


def test_what_the_prefix_cache_holds_is_not_read_again() -> None:
    cached = seconds(TierLoad(cached_share=0.9), prompt_tokens=4000)
    assert cached == pytest.approx(seconds(IDLE, prompt_tokens=400))


def test_attention_makes_long_prompts_slower_than_a_line() -> None:
    profile = LatencyProfile(0.0, 1e-4, 0.01, 0.0, prefill_per_token2_s=1e-8)
    assert profile.prefill_s(10_000) == pytest.approx(1.0 + 1.0)


@given(
    sequences=st.floats(0, 64),
    queued=st.floats(0, 50_000),
    prompt=st.integers(1, 8000),
    tokens=st.integers(1, 4000),
    more=st.floats(0, 3),
)
def test_more_of_anything_never_takes_less_time(
    sequences: float, queued: float, prompt: int, tokens: int, more: float
) -> None:
    base = seconds(busy(sequences, queued), prompt, tokens)
    heavier = busy(sequences * (1 + more), queued * (1 + more))
    assert seconds(heavier, prompt, tokens) >= base - 1e-12
    assert seconds(busy(sequences, queued), round(prompt * (1 + more)), tokens) >= base - 1e-12
    assert seconds(busy(sequences, queued), prompt, round(tokens * (1 + more))) >= base - 1e-12


@given(limit=st.floats(0.001, 1000))
def test_tokens_within_a_limit_take_that_long(limit: float) -> None:
    time = predict(FAST, IDLE, prompt_tokens=50, output_tokens=9, sequences=1, max_num_seqs=16)
    tokens = time.tokens_within(limit)
    if tokens >= 1:
        assert time.e2e_s(tokens) == pytest.approx(limit)
