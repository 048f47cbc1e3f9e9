"""Which contents are kept from the engines."""

from typing import Any

import pytest

from serve_app.resilience.quarantine import Quarantine, content_hash


def hash_of(**changes: Any) -> str:
    return content_hash("chat", {"messages": [{"role": "user", "content": "hi"}]} | changes)


def test_a_content_under_which_two_replicas_died_is_held() -> None:
    quarantine = Quarantine(kept_s=60.0)
    held = []
    for replica in ("a", "b"):
        quarantine.died("x", replica, now=0.0)
        held.append(quarantine.holds("x", now=0.0))
    assert held == [False, True]
    assert not quarantine.holds("y", now=0.0)


def test_two_requests_of_one_content_on_one_dead_replica_are_one_death() -> None:
    quarantine = Quarantine(kept_s=60.0)
    quarantine.died("x", "a", now=0.0)
    quarantine.died("x", "a", now=0.0)
    assert not quarantine.holds("x", now=0.0)


def test_a_reply_in_between_proves_it_harmless() -> None:
    quarantine = Quarantine(kept_s=60.0)
    quarantine.died("x", "a", now=0.0)
    quarantine.answered("x")
    quarantine.died("x", "b", now=1.0)
    assert not quarantine.holds("x", now=1.0)


def test_it_is_let_go_after_a_while() -> None:
    quarantine = Quarantine(kept_s=60.0)
    quarantine.died("x", "a", now=0.0)
    quarantine.died("x", "b", now=10.0)
    assert quarantine.holds("x", now=69.0)
    assert not quarantine.holds("x", now=71.0)
    assert quarantine.is_empty


def test_deaths_far_apart_are_no_pattern() -> None:
    quarantine = Quarantine(kept_s=60.0)
    quarantine.died("x", "a", now=0.0)
    quarantine.died("x", "b", now=61.0)
    assert not quarantine.holds("x", now=61.0)


@pytest.mark.parametrize("change", [{"stream": True}, {"user": "u"}, {"model": "large"}])
def test_who_asks_and_how_it_travels_is_not_content(change: dict[str, Any]) -> None:
    assert hash_of(**change) == hash_of()


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"tools": []}, {"max_tokens": 3}])
def test_what_the_engine_computes_is_content(change: dict[str, Any]) -> None:
    assert hash_of(**change) != hash_of()
