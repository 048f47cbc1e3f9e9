"""What holds for a simulated replica whatever it is given."""

from itertools import accumulate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from serve_app.simulator.engine import Finished, Replica
from tests.unit.simulator.engines import an_engine, run_out

TIMING = {"context_token_s": 1e-6, "pair_s": 1e-8, "sequence_s": 1e-4, "prefill_s": 1e-3}
NOISE = {"log_noise": 0.2, "hiccups_per_step": 0.05, "hiccup_s": 0.1}

_gaps = st.sampled_from([0.0, 0.001, 0.01, 0.2, 5.0])
_requests = st.lists(
    st.tuples(
        _gaps,
        st.integers(1, 120),
        st.integers(1, 80),
        st.sampled_from([0.0, 1.0, 2.0]),
        st.integers(0, 150),
    ),
    min_size=1,
    max_size=25,
)
# From room for one request to room for all.
_engines = st.fixed_dictionaries(
    {
        "max_num_seqs": st.integers(1, 6),
        "max_batched_tokens": st.sampled_from([6, 50, 1000]),
        "kv_tokens": st.sampled_from([200, 320, 10_000]),
    }
)
Drawn = tuple[float, int, int, float, int]


def submissions(requests: list[Drawn]) -> list[dict[str, Any]]:
    arrivals = accumulate(request[0] for request in requests)
    return [
        {
            "request_id": number,
            "prompt_tokens": prompt,
            "output_tokens": output,
            "priority": priority,
            "cached_tokens": cached,
            "now": now,
        }
        for number, (now, (_, prompt, output, priority, cached)) in enumerate(
            zip(arrivals, requests, strict=True)
        )
    ]


def play(engine: Replica, requests: list[Drawn]) -> dict[int | str, Finished]:
    for submission in submissions(requests):
        engine.submit(**submission)
        assert engine.kv_usage <= 1.0
    return run_out(engine)


@given(_requests, _engines, st.booleans())
def test_every_request_finishes_once_with_its_tokens_and_in_order(
    requests: list[Drawn], sizes: dict[str, int], is_noisy: bool
) -> None:
    engine = an_engine(timing=TIMING | (NOISE if is_noisy else {}), **sizes)
    finished: list[Finished] = []
    for submission in submissions(requests):
        engine.submit(**submission)
    while (at_s := engine.next_finish_s) is not None:
        finished += engine.advance(at_s)
        assert engine.kv_usage <= 1.0
        assert engine.running <= sizes["max_num_seqs"]
    assert sorted(reply.request_id for reply in finished) == list(range(len(requests)))
    assert finished == sorted(finished, key=lambda reply: reply.finished_at_s)
    for reply in finished:
        sent = submissions(requests)[int(reply.request_id)]
        assert reply.output_tokens == sent["output_tokens"]
        assert sent["now"] < reply.first_token_at_s <= reply.finished_at_s
        assert (reply.first_token_at_s == reply.finished_at_s) == (reply.output_tokens == 1)
    assert (engine.running, engine.waiting, engine.queued_tokens, engine.kv_usage) == (0, 0, 0, 0)


@given(_requests, _engines, st.lists(st.floats(0.0, 40.0), max_size=20))
def test_looking_more_often_changes_nothing(
    requests: list[Drawn], sizes: dict[str, int], looks: list[float]
) -> None:
    # Given one engine that is only given work, with noise, and one that is also looked at
    ours, theirs = (an_engine(timing=TIMING | NOISE, **sizes) for _ in range(2))
    undisturbed: list[Finished] = []
    for submission in submissions(requests):
        theirs.submit(**submission)
    undisturbed += theirs.advance(1e9)
    # When the second is advanced at any times between
    finished: list[Finished] = []
    pending = sorted(looks)
    for submission in submissions(requests):
        while pending and pending[0] < submission["now"]:
            finished += ours.advance(pending.pop(0))
        ours.submit(**submission)
    for look in pending:
        finished += ours.advance(look)
    finished += ours.advance(1e9)
    # Then every time is the same to the last bit
    assert finished == undisturbed


@given(_requests, _engines, st.lists(st.floats(0.0, 40.0), max_size=20))
def test_without_noise_a_jump_may_be_cut_anywhere(
    requests: list[Drawn], sizes: dict[str, int], cuts: list[float]
) -> None:
    whole, cut = (an_engine(timing=TIMING, **sizes) for _ in range(2))
    expected = play(whole, requests)
    for submission in submissions(requests):
        cut.submit(**submission)
    finished: list[Finished] = []
    for now in sorted(now for now in cuts if now >= submissions(requests)[-1]["now"]):
        finished += cut.advance(now)
        cut.slowdown = 1.0
    finished += cut.advance(1e9)
    for reply in finished:
        assert reply.finished_at_s == approx(expected[reply.request_id].finished_at_s, rel=1e-9)


@given(_requests, _engines)
def test_the_same_seed_gives_the_same_times(requests: list[Drawn], sizes: dict[str, int]) -> None:
    runs = [play(an_engine(timing=TIMING | NOISE, **sizes), requests) for _ in range(2)]
    assert runs[0] == runs[1]


@given(_requests, st.integers(1, 6), st.sampled_from([6, 50, 1000]), st.integers(1, 80))
def test_one_request_more_at_the_end_of_a_burst_speeds_up_nobody(
    requests: list[Drawn], slots: int, budget: int, tokens: int
) -> None:
    # Arrivals over time would not do: another step boundary may let a request in a little earlier.
    burst = [(0.0, prompt, output, 0.0, 0) for _, prompt, output, _, _ in requests]
    longer = [*burst, (0.0, tokens, tokens, 0.0, 0)]
    finishes = []
    for load in (burst, longer):
        engine = an_engine(timing=TIMING, max_num_seqs=slots, max_batched_tokens=budget)
        for submission in submissions(load):
            engine.submit(**submission)
        finishes.append({r.request_id: r.finished_at_s for r in engine.advance(1e9)})
    for number in range(len(burst)):
        assert finishes[1][number] >= finishes[0][number] - 1e-9


@given(_requests, _engines, st.lists(st.integers(0, 24), max_size=10), st.data())
def test_cancelling_frees_everything_and_the_others_finish(
    requests: list[Drawn], sizes: dict[str, int], cancelled: list[int], data: st.DataObject
) -> None:
    engine = an_engine(timing=TIMING | NOISE, **sizes)
    finished: set[int | str] = set()
    for submission in submissions(requests):
        engine.submit(**submission)
    now = submissions(requests)[-1]["now"]
    for number in cancelled:
        now += data.draw(_gaps)
        finished |= {reply.request_id for reply in engine.advance(now)}
        engine.cancel(number, now=now)
    late = run_out(engine)
    assert not late.keys() & set(cancelled)
    assert finished | late.keys() >= set(range(len(requests))) - set(cancelled)
    assert (engine.running, engine.waiting, engine.queued_tokens, engine.kv_usage) == (0, 0, 0, 0)


@given(_requests, _engines, st.lists(st.tuples(st.integers(0, 24), _gaps), max_size=6))
def test_without_noise_foresight_sees_what_comes_and_changes_nothing(
    requests: list[Drawn], sizes: dict[str, int], cancelled: list[tuple[int, float]]
) -> None:
    # Given an engine in the middle of its work, some of it cancelled
    engine = an_engine(timing=TIMING, **sizes)
    for submission in submissions(requests):
        engine.submit(**submission)
    now = submissions(requests)[-1]["now"]
    for number, gap_s in cancelled:
        now += gap_s
        engine.cancel(number, now=now)
    # When one looks ahead, and gives what one looks at more to do
    foreseen = engine.foresight().advance(1e9)
    busier = engine.foresight()
    busier.submit("more", prompt_tokens=50, output_tokens=50, now=now)
    busier.advance(1e9)
    # Then just that comes
    assert engine.advance(1e9) == foreseen
