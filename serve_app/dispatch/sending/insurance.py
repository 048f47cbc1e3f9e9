"""Two tiers for one request: the better one if it is in time, the safe one if not."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from serve_app.errors import TandemError

_Result = TypeVar("_Result")
_MEMORY = 0.999


class InsuranceBudget:
    """Bounds the share of requests that run twice, over the last thousand or so."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._taken = 0.0
        self._seen = 0.0

    def take(self) -> bool:
        """True when this request may be insured; counts it either way."""
        self._seen = self._seen * _MEMORY + 1.0
        self._taken *= _MEMORY
        if not self._share or self._taken + 1.0 > max(1.0, self._share * self._seen):
            return False
        self._taken += 1.0
        return True


async def first_good(
    better: Coroutine[Any, Any, _Result],
    safe: Coroutine[Any, Any, _Result],
    *,
    within_s: float,
) -> tuple[_Result, bool]:
    """Runs both; the better result if it is there in time, else the safe one.

    The loser is cancelled, and both are when the caller is.

    Returns:
        The result, and whether it is the better one.

    Raises:
        TandemError: both failed; the safe one's error.
    """
    better_task, safe_task = asyncio.ensure_future(better), asyncio.ensure_future(safe)
    try:
        await asyncio.wait([better_task], timeout=within_s)
        if better_task.done() and better_task.exception() is None:
            return better_task.result(), True
        try:
            return await safe_task, False
        except TandemError:
            if better_task.done():
                raise
            return await better_task, True
    finally:
        for task in (better_task, safe_task):
            task.cancel()
        await asyncio.gather(better_task, safe_task, return_exceptions=True)
