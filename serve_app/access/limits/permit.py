"""One admitted request's hold on its key's limits, from admission to the end of its reply."""

from collections.abc import Callable, Mapping

from serve_app.access.limits.purse import Purse
from serve_app.access.limits.wallet import Wallet

_WINDOW_S = 60.0


class Permit:
    """What was taken for one request; give it back with `settle`, whatever becomes of it."""

    def __init__(
        self,
        wallet: Wallet,
        tokens: int,
        clock: Callable[[], float],
        settled: Callable[[Wallet], None],
    ) -> None:
        self._wallet = wallet
        self._tokens = tokens
        self._clock = clock
        self._taken_at_s = clock()
        self._settled = settled
        self._is_open = True

    def settle(self, tokens: int | None, usd: float = 0.0) -> None:
        """Ends it; a second call changes nothing.

        Args:
            tokens: really used, prompt and output; None leaves what was charged. usd: its cost.
        """
        if not self._is_open:
            return
        self._is_open = False
        used = self._tokens if tokens is None else tokens
        self._wallet.settle(self._tokens, used, usd, taken_at_s=self._taken_at_s)
        self._settled(self._wallet)

    def headers(self) -> Mapping[str, str]:
        """`x-ratelimit-*` as OpenAI sends them, for the limits that the key has."""
        return rate_limit_headers(self._wallet)


def rate_limit_headers(wallet: Wallet) -> dict[str, str]:
    """Limit, what is left, and the time until all of it is back, by OpenAI's names."""
    limits = wallet.limits
    return _rate(wallet.requests, limits.requests_per_minute, "requests") | _rate(
        wallet.tokens, limits.tokens_per_minute, "tokens"
    )


def _rate(purse: Purse, limit: int | None, name: str) -> dict[str, str]:
    if limit is None:
        return {}
    remaining = min(limit, purse.remaining)
    return {
        f"x-ratelimit-limit-{name}": str(limit),
        f"x-ratelimit-remaining-{name}": str(remaining),
        # Of the last minute, so all of it is back a minute after the latest request.
        f"x-ratelimit-reset-{name}": f"{_WINDOW_S:g}s" if remaining < limit else "0s",
    }
