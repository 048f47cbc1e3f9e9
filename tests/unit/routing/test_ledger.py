"""What is in flight, whose it is, and when it will have drained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.routing.live.ledger import Ledger, Work
from serve_app.routing.live.prices import ShadowPrice
from serve_app.routing.live.promises import Promises


def some_work(e2e_s: float = 4.0, **changes: object) -> Work:
    defaults: dict[str, object] = {
        "prompt_tokens": 10, "sequences": 1, "ttft_s": 0.5, "e2e_s": e2e_s, "prefill_s": 0.3,
    }  # fmt: skip
    return Work(**(defaults | changes))  # type: ignore[arg-type]


def test_a_full_tier_waits_for_its_first_finish() -> None:
    # Given two slots, taken until second 4 and second 9
    ledger = Ledger()
    ledger.start("a", some_work(4.0), now=0.0)
    ledger.start("b", some_work(9.0), now=0.0)
    # When a third request asks at second 1
    load = ledger.load(replicas=1, max_num_seqs=2, now=1.0)
    # Then it waits three seconds
    assert load.slot_wait_s == pytest.approx(3.0)


def test_who_queues_waits_as_long_as_the_slots_need_for_those_ahead() -> None:
    # Given two slots, each held for 4 s, and predictions that all end at once, too early
    ledger = Ledger()
    for number in range(6):
        ledger.start(str(number), some_work(1.0, slot_s=4.0), now=0.0)
    # When a seventh asks
    load = ledger.load(replicas=1, max_num_seqs=2, now=0.5)
    # Then five must leave first, of whom one goes every other second
    assert load.slot_wait_s == pytest.approx((5 - 0.5) * 4.0 / 2)


def test_a_reply_meets_the_prefills_of_others_once_they_begin_and_never_its_own() -> None:
    ledger = Ledger()
    ledger.start("a", some_work(prefill_s=0.3, ttft_s=0.3), now=0.0)
    ledger.start("b", some_work(prefill_s=2.0, ttft_s=3.0), now=0.0)
    ledger.start("c", some_work(prefill_s=9.0, ttft_s=99.0), now=0.0)
    met = ledger.finish("a", replicas=1, now=4.0)
    assert met is not None and met.blocked_share == pytest.approx(2.0 / 4.0)


def test_the_wait_for_a_slot_is_seen_by_who_ended_before() -> None:
    # Given one slot, taken, and two who wait for it
    ledger = Ledger()
    for name in ("a", "b", "c"):
        ledger.start(name, some_work(), now=0.0, slots=1)
    # When the first ends at second 3 and the others at 5 and 9
    met = [ledger.finish(name, replicas=1, now=at) for name, at in (("a", 3), ("b", 5), ("c", 9))]
    # Then each has waited for those before it
    assert [m.slot_wait_s for m in met if m is not None] == [0.0, 3.0, 5.0]


def test_an_overdue_reply_is_not_believed_to_end_at_once() -> None:
    ledger = Ledger()
    ledger.start("a", some_work(1.0), now=0.0)
    load = ledger.load(replicas=1, max_num_seqs=1, now=10.0)
    assert load.slot_wait_s == pytest.approx(1.0)


def test_a_finished_request_leaves_no_load() -> None:
    ledger = Ledger()
    ledger.start("a", some_work(), now=0.0)
    ledger.finish("a", replicas=1, now=1.0)
    load = ledger.load(replicas=1, max_num_seqs=1, now=1.0)
    assert (load.sequences, load.queued_tokens, load.slot_wait_s) == (0, 0, 0)


def test_prompts_are_queued_until_their_first_token_is_due() -> None:
    ledger = Ledger()
    ledger.start("a", some_work(prompt_tokens=700), now=0.0)
    assert ledger.load(replicas=1, max_num_seqs=9, now=0.4).queued_tokens == 700
    assert ledger.load(replicas=1, max_num_seqs=9, now=0.6).queued_tokens == 0


def test_the_mean_load_and_the_blocked_share_fade() -> None:
    ledger = Ledger()
    ledger.start("a", some_work(prefill_s=3.0), now=0.0)
    ledger.finish("a", replicas=1, now=60.0)
    early = ledger.load(replicas=1, max_num_seqs=9, now=60.0)
    late = ledger.load(replicas=1, max_num_seqs=9, now=300.0)
    assert early.mean_sequences is not None and late.mean_sequences is not None
    assert early.mean_sequences > 0.5 > 0.01 > late.mean_sequences
    assert early.blocked_share > late.blocked_share


def test_other_routers_load_counts_and_fades() -> None:
    ledger = Ledger()
    ledger.report({"replica": "x", "running": 8, "waiting": 0, "queued_tokens": 90}, now=0.0)
    assert ledger.load(replicas=1, max_num_seqs=16, now=0.0).sequences == 8
    assert ledger.load(replicas=1, max_num_seqs=16, now=0.0).queued_tokens == 90
    assert ledger.load(replicas=1, max_num_seqs=16, now=2.5).sequences == pytest.approx(4)
    assert ledger.load(replicas=1, max_num_seqs=16, now=6.0).sequences == 0


def test_draining_takes_as_long_as_the_replies_that_must_end() -> None:
    ledger = Ledger()
    for name, e2e_s in (("a", 2.0), ("b", 5.0), ("c", 7.0)):
        ledger.start(name, some_work(e2e_s), now=0.0)
    assert ledger.drained_after_s(2, slots=4, now=1.0) == pytest.approx(4.0)
    assert ledger.drained_after_s(9, slots=4, now=1.0) == pytest.approx(6.0)


def test_draining_what_other_routers_sent_takes_as_long_as_replies_stay() -> None:
    # Given one reply of ours that took 10 s, and 8 sequences that others sent
    ledger = Ledger()
    ledger.start("a", some_work(10.0), now=0.0)
    ledger.finish("a", replicas=1, now=10.0)
    ledger.report({"replica": "x", "running": 8, "waiting": 0, "queued_tokens": 0}, now=10.0)
    # When four of eight slots must become free, then a replacement takes its usual time
    assert ledger.drained_after_s(4, slots=8, now=10.0) == pytest.approx(4 * 10.0 / 8)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 9)), max_size=60))
def test_counts_never_go_wrong_whatever_the_order(
    steps: list[tuple[int, bool, float]],
) -> None:
    ledger, open_ids, now = Ledger(), set(), 0.0
    for number, is_start, dt in steps:
        now += dt
        if is_start and number not in open_ids:
            open_ids.add(number)
            ledger.start(str(number), some_work(share_key="k"), now=now)
        elif not is_start:
            open_ids.discard(number)
            ledger.finish(str(number), replicas=1, now=now)
        load = ledger.load(replicas=1, max_num_seqs=4, now=now)
        assert load.sequences == ledger.sequences_of("k") == len(open_ids)
        assert 0 <= load.queued_tokens <= 10 * len(open_ids)


def test_no_place_is_kept_before_anybody_was_seen_to_return() -> None:
    promises = Promises()
    promises.promise(10.0, now=0.0)
    assert promises.reserved(0.0, stay_s=100.0, leaving_per_s=0.0) == 0.0


def test_a_promised_place_counts_while_it_is_due_soon() -> None:
    # Given callers who always came back, and two more who will
    promises = Promises()
    for _ in range(100):
        promises.promise(0.0, now=0.0)
        promises.keep(now=0.0)
    promises.promise(10.0, now=0.0)
    promises.promise(30.0, now=0.0)
    # Then only the one who comes within the time of a reply is waited for
    assert promises.reserved(1.0, stay_s=15.0, leaving_per_s=0.0) == pytest.approx(1.0, abs=0.02)
    assert promises.expected == pytest.approx(2.0, abs=0.02)
    promises.keep(now=10.0)
    assert promises.reserved(11.0, stay_s=15.0, leaving_per_s=0.0) == 0.0


def test_no_place_is_kept_for_who_will_find_the_place_of_one_who_left() -> None:
    # Given three callers who return at one per second, from the second second on
    promises = Promises()
    for _ in range(100):
        promises.promise(0.0, now=0.0)
        promises.keep(now=0.0)
    for due_at_s in (2.0, 3.0, 4.0):
        promises.promise(due_at_s, now=0.0)
    # Then none is kept while requests end as fast, and those that they lag behind otherwise
    assert promises.reserved(0.0, stay_s=15.0, leaving_per_s=1.0) == 0.0
    assert promises.reserved(0.0, stay_s=15.0, leaving_per_s=0.25) == pytest.approx(2.0, abs=0.1)


def test_callers_who_never_return_are_soon_not_waited_for() -> None:
    promises = Promises()
    for second in range(100):
        promises.promise(float(second), now=float(second))
    promises.promise(200.0, now=199.0)
    assert promises.reserved(199.0, stay_s=10.0, leaving_per_s=0.0) < 0.05


def test_a_crowded_tiers_price_rises_and_falls_again() -> None:
    price = ShadowPrice()
    for _ in range(50):
        price.wanted(0.5, is_crowded=True)
    assert price.per_work_s == pytest.approx(0.5)
    for _ in range(2000):
        price.wanted(0.5, is_crowded=False)
    assert price.per_work_s == 0.0


def test_a_price_turns_away_only_those_who_gain_less_than_the_others() -> None:
    # Given that half of those who want a tier are kept out, and gains from 0.01 to 1
    price = ShadowPrice()
    for number in range(1000):
        worth = (1 + number * 37 % 100) / 100
        price.wanted(worth, is_crowded=number % 2 == 0)
    # Then the price lies at the half of them
    assert price.per_work_s == pytest.approx(0.5, abs=0.1)


def test_a_tier_is_short_for_a_while_after_it_kept_somebody_out() -> None:
    price = ShadowPrice()
    assert not price.is_short
    price.wanted(1.0, is_crowded=True)
    assert price.is_short
    for _ in range(100):
        price.wanted(1.0, is_crowded=False)
    assert not price.is_short
