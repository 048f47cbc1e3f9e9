"""What a caller over its key's limits is told. Wallets in, errors with the time to wait out."""

from datetime import datetime

from serve_app.access.limits.messages import Limits
from serve_app.access.limits.permit import rate_limit_headers
from serve_app.access.limits.wallet import Wallet
from serve_app.access.spend import until_next_month_s
from serve_app.errors import InvalidRequest, QuotaExceeded, RateLimited

_RETRY_RUNNING_S = 1.0


def refuse_impossible(limits: Limits, tokens: int) -> None:
    """Raises InvalidRequest for what no waiting would ever admit."""
    limit = limits.tokens_per_minute
    if limit is not None and tokens > limit:
        raise InvalidRequest(
            f"max_tokens: prompt and reply may take {tokens} tokens, this API key may use {limit} "
            "per minute. Ask for a shorter reply or split the prompt.",
            param="max_tokens",
        )


def budget_spent(wallet: Wallet, now: datetime) -> QuotaExceeded:
    return QuotaExceeded(
        f"The budget of this API key for {now:%B %Y} is spent: {wallet.usd_this_month:.2f} of "
        f"{wallet.limits.usd_per_month or 0:.2f} USD. It begins again on the first of next month.",
        retry_after_s=until_next_month_s(now),
    )


def too_many_at_once(wallet: Wallet) -> RateLimited:
    return RateLimited(
        f"This API key may run {wallet.limits.concurrent_requests} requests at the same time, and "
        "so many are running. Wait for one of them to end.",
        kind="requests",
        retry_after_s=_RETRY_RUNNING_S,
        limits=rate_limit_headers(wallet),
    )


def too_many_per_minute(wallet: Wallet, tokens: int) -> RateLimited:
    """Names the rate that is short, and when there will be enough."""
    limits, requests = wallet.limits, wallet.requests
    if limits.requests_per_minute is not None and requests.kept < 1:
        return RateLimited(
            f"This API key may send {limits.requests_per_minute} requests per minute, and they "
            "are used up.",
            kind="requests",
            retry_after_s=requests.share.clears_in_s if requests.share else 0.0,
            limits=rate_limit_headers(wallet),
        )
    share = wallet.tokens.share
    return RateLimited(
        f"This API key may use {limits.tokens_per_minute} tokens per minute; this request may "
        f"take {tokens}, and {wallet.tokens.remaining} are left.",
        kind="tokens",
        retry_after_s=share.clears_in_s if share else 0.0,
        limits=rate_limit_headers(wallet),
    )
