"""How many retries the budget grants."""

from hypothesis import given
from hypothesis import strategies as st

from serve_app.resilience.retry_budget import RetryBudget


@given(st.lists(st.booleans(), max_size=400))
def test_retries_never_exceed_the_reserve_and_the_share(is_retry: list[bool]) -> None:
    budget, granted = RetryBudget(0.1, reserve=20.0), 0
    for requests, wanted in enumerate(is_retry, start=1):
        budget.request()
        granted += wanted and budget.take()
        assert granted <= 20.0 + 0.1 * requests


def test_a_replica_full_of_calls_can_be_retried_at_once() -> None:
    budget = RetryBudget(0.1)
    assert all(budget.take() for _ in range(128))


def test_without_a_share_nothing_is_retried() -> None:
    budget = RetryBudget(0.0)
    budget.request()
    assert not budget.take()
