"""What a fleet's work costs, by the formula that users know. Prices and rates in, USD out.

tokens processed = input + output; throughput = requests x tokens / duration; cost per 1K tokens =
price per hour / throughput.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from serve_app.sizing.demand import HOURS_PER_MONTH, Demand
from serve_app.sizing.prices import HostedPrice, PriceList

# A million sentences of a hundred tokens each.
SENTENCES_TOKENS = 1_000_000 * 100


@dataclass(frozen=True, slots=True)
class Cost:
    """USD. per_1k_tokens: input and output together, in the demand's mix.

    million_sentences: a million sentences of 100 tokens each, at that cost per token.
    """

    per_hour: float
    per_month: float
    per_1k_tokens: float
    million_sentences: float


@dataclass(frozen=True, slots=True)
class HostedCost:
    """The same demand at a hosted API."""

    name: str
    price: HostedPrice
    cost: Cost


def tokens_per_hour(demand: Demand, requests_per_s: float) -> float:
    """Input and output tokens of so many requests per second."""
    return requests_per_s * (demand.prompt_tokens + demand.output_tokens) * 3600.0


def cost_of(usd_per_hour: float, demand: Demand, *, requests_per_s: float) -> Cost:
    """Replicas that cost so much, idle or not, and serve so many requests per second."""
    per_token = usd_per_hour / tokens_per_hour(demand, requests_per_s)
    return Cost(
        usd_per_hour, usd_per_hour * HOURS_PER_MONTH, per_token * 1000,
        per_token * SENTENCES_TOKENS,
    )  # fmt: skip


def hosted(prices: PriceList, demand: Demand) -> Iterator[HostedCost]:
    """What each hosted API takes for the mean of the day, cheapest first."""
    costs = [_hosted(name, price, demand) for name, price in prices.hosted.items()]
    yield from sorted(costs, key=lambda one: one.cost.per_hour)


def _hosted(name: str, price: HostedPrice, demand: Demand) -> HostedCost:
    per_request = (
        demand.prompt_tokens * price.usd_per_1m_input
        + demand.output_tokens * price.usd_per_1m_output
    ) / 1e6
    per_hour = per_request * demand.mean_rps * 3600.0
    return HostedCost(name, price, cost_of(per_hour, demand, requests_per_s=demand.mean_rps))
