"""Which of two replicas a call goes to; failures, newcomers, sessions."""

from hypothesis import given
from hypothesis import strategies as st

from serve_app.replica_choice.adapters import AdaptersUnderway
from serve_app.replica_choice.chooser import Call
from serve_app.replica_choice.recent import Recent
from serve_app.replica_choice.replies import inbox
from tests.unit.replica_choice.builders import (
    REPLICAS,
    a_call,
    a_chooser,
    a_load,
    an_engine_call,
    delay_on,
    firsts,
)


def test_nothing_is_chosen_while_nothing_is_known() -> None:
    assert a_chooser().choose(REPLICAS, a_call(), now=0.0) == ()


def test_one_long_call_weighs_more_than_several_short_ones_that_fill_no_more_slots() -> None:
    # Given one replica with a single call of 20 s, and two with three calls of 1 s each
    chooser = a_chooser()
    chooser.sent("a", a_call("long", 20.0), now=0.0)
    for index in range(6):
        chooser.sent("bc"[index % 2], a_call(f"short-{index}", 1.0), now=0.0)
    # When others are chosen for, then the long one is avoided though it is one call
    assert firsts(chooser, now=0.0)["a"] == 0


def test_a_long_call_weighs_less_the_longer_it_runs() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("long", 20.0), now=0.0)
    chooser.sent("b", a_call("later", 10.0), now=15.0)
    chooser.sent("c", a_call("latest", 10.0), now=15.0)
    assert firsts(chooser, now=15.0, call=a_call(work_s=20.0))["a"] > 50


def test_the_same_seed_chooses_the_same_replicas() -> None:
    def choices(seed: int) -> list[tuple[str, ...]]:
        chooser = a_chooser(seed=seed)
        chooser.sent("a", a_call("first"), now=0.0)
        return [chooser.choose(REPLICAS, a_call(), now=0.0) for _ in range(20)]

    assert choices(3) == choices(3)
    assert choices(3) != choices(4)


def test_a_finished_call_weighs_nothing() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("r", 10.0), now=0.0)
    chooser.finished("r", "a", now=1.0)
    assert delay_on(chooser, "a", now=1.0) == 0.0


def test_a_call_that_serve_sent_elsewhere_moves() -> None:
    # Given a call that was booked on one replica, refused there and accepted by another
    chooser = a_chooser()
    chooser.sent("a", a_call("r", 10.0), now=0.0)
    chooser.sent("b", a_call("r", 10.0), now=0.1)
    # When the first replica's refusal is completed late
    chooser.finished("r", "a", now=0.2)
    # Then
    assert delay_on(chooser, "a", now=0.2) == 0.0
    assert delay_on(chooser, "b", now=0.2) > 9.0


def test_a_call_whose_end_was_never_told_is_forgotten() -> None:
    chooser = a_chooser()
    chooser.sent("a", a_call("lost", 10.0), now=0.0)
    chooser.sent("b", a_call("next", 10.0), now=4000.0)
    assert delay_on(chooser, "a", now=4000.0) == 0.0


@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True),
    st.integers(0, 1000),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0.0, 100.0)), max_size=10),
)
def test_only_replicas_that_are_there_are_chosen_and_each_once(
    there: list[str], seed: int, sent: list[tuple[str, float]]
) -> None:
    chooser = a_chooser(seed=seed)
    for index, (replica, work_s) in enumerate(sent):
        chooser.sent(replica, a_call(str(index), work_s, session_id="s"), now=0.0)
        if index % 3 == 0:
            chooser.failed(str(index), now=0.0)
    chosen = chooser.choose(there, a_call("next", session_id="s"), now=1.0)
    assert set(chosen) <= set(there)
    assert len(set(chosen)) == len(chosen)
    assert bool(chosen) == bool(sent)


def test_a_replica_that_failed_a_call_is_spared_for_a_while() -> None:
    # Given a broken replica, idle because it fails at once, and two busy ones
    chooser = a_chooser()
    chooser.sent("b", a_call("r1"), now=0.0)
    chooser.sent("c", a_call("r2"), now=0.0)
    chooser.sent("a", a_call("r3"), now=0.0)
    chooser.finished("r3", "a", now=0.1)
    chooser.failed("r3", now=0.1)
    # Then it is not chosen now, and is tried again later
    assert firsts(chooser, now=0.2)["a"] == 0
    assert firsts(chooser, now=6.0)["a"] > 0


def test_when_every_replica_failed_one_is_chosen_all_the_same() -> None:
    chooser = a_chooser()
    for replica in REPLICAS:
        chooser.sent(replica, a_call(f"r-{replica}"), now=0.0)
        chooser.rest(replica, now=0.0)
    assert len(chooser.choose(REPLICAS, a_call(), now=0.1)) == 2


def test_a_new_replica_is_chosen_but_does_not_draw_every_call() -> None:
    # Given two replicas that other routers keep busy, and one nobody has heard of
    chooser = a_chooser()
    chooser.report(a_load("a", 10.0), now=0.0)
    chooser.report(a_load("b", 10.0), now=0.0)
    # Then the new one counts as an average one
    assert delay_on(chooser, "c", now=0.0) == delay_on(chooser, "a", now=0.0) > 0.0
    assert 0 < firsts(chooser, now=0.0)["c"] < 100


def test_a_session_stays_on_its_replica() -> None:
    chooser = a_chooser()
    chooser.sent("b", a_call("r", 0.4, session_id="s"), now=0.0)
    asked = a_call("next", session_id="s")
    assert firsts(chooser, 0.0, asked)["b"] == 100


def test_a_session_leaves_a_replica_that_is_too_busy_and_stays_where_it_went() -> None:
    # Given a session on a replica with 20 s of work more per slot than the others
    chooser = a_chooser()
    chooser.sent("b", a_call("long", 20.0, session_id="s"), now=0.0)
    # When it calls again
    spilled = chooser.choose(REPLICAS, a_call("next", session_id="s"), now=0.0)
    chooser.sent(spilled[0], a_call("next", 0.5, session_id="s"), now=0.0)
    # Then it goes elsewhere, and its third call follows the second
    assert spilled[0] != "b"
    third = chooser.choose(REPLICAS, a_call("third", session_id="s"), now=0.1)
    assert third[0] == spilled[0]


def test_openais_prompt_cache_key_is_a_session_too() -> None:
    assert Call.of(an_engine_call(prompt_cache_key="chat-7")).session_id == "chat-7"
    named = an_engine_call(prompt_cache_key="chat-7")
    named["session_id"] = "ours"
    assert Call.of(named).session_id == "ours"
    assert Call.of(an_engine_call(prompt_cache_key=7)).session_id is None


def test_what_was_written_longest_ago_is_forgotten_first() -> None:
    recent: Recent[str, int] = Recent(most=2)
    for key in ("a", "b", "a", "c"):
        recent.put(key, 1)
    assert (recent.get("a"), recent.get("b"), len(recent)) == (1, None, 2)


def test_an_adapters_last_replica_is_remembered_for_as_long_as_news_of_it_may_take() -> None:
    underway = AdaptersUnderway()
    underway.sent("legal", "a", 100.0)
    underway.sent("legal", "b", 101.0)
    assert underway.replica_for("legal", 105.9) == "b"
    assert underway.replica_for("legal", 106.0) is None
    assert underway.replica_for("other", 101.0) is None


def test_tier_and_router_of_a_deployment_share_an_inbox() -> None:
    assert inbox("app", "tier-x") is inbox("app", "tier-x")
    assert inbox("app", "tier-x") is not inbox("app", "tier-y")
