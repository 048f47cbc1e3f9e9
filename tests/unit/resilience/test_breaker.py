"""When a breaker opens, lets a probe through, and closes."""

from serve_app.resilience.breaker import Breaker


def an_open_breaker() -> Breaker:
    breaker = Breaker(allowed_fails=2, cooldown_s=5.0)
    for _ in range(3):
        breaker.failed(now=0.0)
    return breaker


def test_it_opens_after_more_failures_in_a_row_than_are_allowed() -> None:
    breaker = Breaker(allowed_fails=2, cooldown_s=5.0)
    opened = []
    for _ in range(3):
        breaker.failed(now=0.0)
        opened.append(breaker.is_open(now=0.0))
    assert opened == [False, False, True]


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(allowed_fails=2, cooldown_s=5.0)
    for _ in range(10):
        breaker.failed(now=0.0)
        breaker.failed(now=0.0)
        breaker.succeeded()
    assert not breaker.is_open(now=0.0)


def test_all_calls_of_one_dead_replica_are_one_failure() -> None:
    breaker = Breaker(allowed_fails=2, cooldown_s=5.0)
    for _ in range(32):
        breaker.failed(now=0.0, cause="replica-1")
    assert not breaker.is_open(now=0.0)


def test_after_the_cooldown_one_probe_goes_through_and_others_wait() -> None:
    breaker = an_open_breaker()
    assert breaker.is_open(now=4.9)
    assert not breaker.is_open(now=5.1)
    breaker.sent(now=5.1)
    assert breaker.is_open(now=5.2)


def test_the_probes_success_closes_it_and_its_failure_opens_it_again() -> None:
    for is_success in (True, False):
        breaker = an_open_breaker()
        breaker.sent(now=5.1)
        if is_success:
            breaker.succeeded()
        else:
            breaker.failed(now=5.2)
        assert breaker.is_open(now=5.3) is not is_success


def test_a_probe_that_is_never_heard_of_again_does_not_keep_it_open() -> None:
    breaker = an_open_breaker()
    breaker.sent(now=5.1)
    assert not breaker.is_open(now=10.2)
