"""One simulated replica: what an engine does to its requests, step by step."""

import statistics

import pytest

from tests.unit.simulator.engines import an_engine, run_out, submit


def test_a_request_alone_takes_its_prefill_and_then_one_step_per_token() -> None:
    # Given an idle engine
    engine = an_engine()
    # When a prompt of 500 tokens asks for 11
    submit(engine, prompt_tokens=500, output_tokens=11, now=3.0)
    reply = run_out(engine)["r1"]
    # Then the prompt takes 50 ms and yields the first token, the other ten take 10 ms each
    assert reply.first_token_at_s == pytest.approx(3.05, rel=1e-3)
    assert reply.finished_at_s == pytest.approx(3.15, rel=1e-3)
    assert reply.output_tokens == 11


def test_a_prompt_beyond_the_budget_is_prefilled_in_chunks() -> None:
    engine = an_engine(max_batched_tokens=100)
    submit(engine, prompt_tokens=250)
    assert run_out(engine)["r1"].first_token_at_s == pytest.approx(0.03, rel=1e-2)


def test_cached_tokens_are_not_prefilled_again() -> None:
    engine = an_engine()
    submit(engine, prompt_tokens=900, cached_tokens=800)
    assert engine.queued_tokens == 100
    assert run_out(engine)["r1"].first_token_at_s == pytest.approx(0.01, rel=1e-2)


def test_a_prefill_slows_the_replies_that_share_its_step() -> None:
    # Given a reply under way, with 100 steps of 10 ms to go
    engine = an_engine()
    submit(engine, "first", output_tokens=101)
    # When a prompt of 900 tokens, 90 ms of work, arrives
    submit(engine, "second", prompt_tokens=900, now=0.5)
    # Then one of the steps takes 90 ms instead of 10
    assert run_out(engine)["first"].finished_at_s == pytest.approx(1.01 + 0.08, rel=1e-3)


def test_attention_reads_the_context_that_grows_with_each_token() -> None:
    engine = an_engine(timing={"context_token_s": 1e-5})
    submit(engine, prompt_tokens=100, output_tokens=51)
    # Contexts of 101 to 150 tokens, in 50 steps.
    expected_s = 0.01 + 50 * 0.01 + sum(range(101, 151)) * 1e-5
    assert run_out(engine)["r1"].finished_at_s == pytest.approx(expected_s, rel=1e-3)


def test_prefill_attention_costs_the_square_of_the_prompt_however_it_is_cut() -> None:
    finishes = []
    for budget in (1000, 250):
        engine = an_engine(max_batched_tokens=budget, timing={"pair_s": 1e-6})
        submit(engine, prompt_tokens=1000, output_tokens=1)
        finishes.append(run_out(engine)["r1"].finished_at_s)
    assert finishes == pytest.approx([0.1 + 1000**2 / 2 * 1e-6] * 2, rel=1e-3)


def test_a_full_batch_makes_the_next_request_wait_for_a_slot() -> None:
    engine = an_engine(max_num_seqs=1)
    submit(engine, "first")
    submit(engine, "second", now=0.001)
    assert (engine.running, engine.waiting) == (1, 1)
    replies = run_out(engine)
    assert replies["second"].first_token_at_s == pytest.approx(
        replies["first"].finished_at_s + 0.01, rel=1e-3
    )


def test_the_more_urgent_of_two_waiting_requests_goes_first() -> None:
    engine = an_engine(max_num_seqs=1)
    submit(engine, "first")
    submit(engine, "late", now=0.001, priority=5)
    submit(engine, "urgent", now=0.002, priority=1)
    assert list(run_out(engine)) == ["first", "urgent", "late"]


def test_a_full_cache_preempts_the_youngest_which_is_prefilled_again() -> None:
    # Given room for two prompts but not for their replies
    engine = an_engine(kv_tokens=250)
    # When both decode
    submit(engine, "old", output_tokens=100)
    submit(engine, "young", output_tokens=100)
    engine.advance(0.5)
    # Then the younger one waits with its output so far to prefill, and goes on afterwards
    assert (engine.running, engine.waiting) == (1, 1)
    assert engine.queued_tokens > 100
    replies = run_out(engine)
    assert replies["old"].finished_at_s == pytest.approx(1.01, rel=0.05)
    assert replies["young"].finished_at_s > 1.3
    assert replies["young"].first_token_at_s < 0.03


def test_cancelling_a_running_request_lets_the_next_one_in() -> None:
    engine = an_engine(max_num_seqs=1)
    submit(engine, "first", output_tokens=1000)
    submit(engine, "second", now=0.1)
    engine.cancel("first", now=0.2)
    replies = run_out(engine)
    assert replies["second"].finished_at_s == pytest.approx(0.2 + 0.11, abs=0.02)
    assert "first" not in replies


def test_cancelling_what_is_not_here_changes_nothing() -> None:
    engine = an_engine()
    submit(engine)
    engine.cancel("unknown", now=0.01)
    assert list(run_out(engine)) == ["r1"]


def test_a_slowdown_counts_from_the_next_step_on() -> None:
    engine = an_engine()
    submit(engine, output_tokens=101)
    engine.advance(0.51)
    engine.slowdown = 2.0
    assert run_out(engine)["r1"].finished_at_s == pytest.approx(0.51 + 2 * 0.5, abs=0.02)


def test_an_idle_engine_has_nothing_to_finish() -> None:
    assert an_engine().next_finish_s is None
    assert an_engine().advance(10.0) == []


def test_what_can_never_run_is_refused() -> None:
    engine = an_engine(kv_tokens=200)
    submit(engine, now=1.0)
    with pytest.raises(ValueError, match="never fits 200 tokens"):
        submit(engine, "r2", prompt_tokens=150, output_tokens=52, now=1.0)
    with pytest.raises(ValueError, match="already in this replica"):
        submit(engine, now=1.0)
    with pytest.raises(ValueError, match="a token of prompt and one of output"):
        submit(engine, "r3", output_tokens=0, now=1.0)
    with pytest.raises(ValueError, match="backwards"):
        submit(engine, "r4", now=0.5)
    with pytest.raises(ValueError, match="max_batched_tokens"):
        an_engine(max_num_seqs=2000)


def test_the_noise_of_a_jump_has_the_variance_of_its_steps() -> None:
    # Given steps that vary by 30 %
    times_s = []
    for seed in range(400):
        engine = an_engine(seed=seed, timing={"log_noise": 0.3})
        # When 100 of them are one jump
        submit(engine, prompt_tokens=1, output_tokens=101)
        reply = run_out(engine)["r1"]
        times_s.append(reply.finished_at_s - reply.first_token_at_s)
    # Then their sum varies by 3 % around the same mean; 4 standard errors are allowed
    assert statistics.mean(times_s) == pytest.approx(1.0, abs=4 * 0.03 / 20)
    assert statistics.stdev(times_s) == pytest.approx(0.0306, rel=4 / 28)


def test_hiccups_come_as_often_and_last_as_long_as_configured() -> None:
    hiccups = {"hiccups_per_step": 0.01, "hiccup_s": 0.1}
    engine = an_engine(timing=hiccups, kv_tokens=10**6)
    submit(engine, prompt_tokens=1, output_tokens=100_000)
    # 1000 hiccups of 0.1 s in 1000 s of steps; the standard error of their sum is 4.5 s.
    assert run_out(engine)["r1"].finished_at_s == pytest.approx(1100, abs=4 * 4.5)
