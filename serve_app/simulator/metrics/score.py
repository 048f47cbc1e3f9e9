"""What a run was worth. Results in as they end, one Score out; keeps numbers, not requests."""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from serve_app.simulator.requests import Result

# Prompts up to each of these are a group when there is only one class of callers.
_PROMPT_GROUPS = ((512, "prompts up to 512"), (2048, "prompts up to 2048"))
_LONG_PROMPTS = "prompts above 2048"


@dataclass(frozen=True, slots=True)
class Score:
    """One run; shares are of all requests offered, refused ones included.

    attainment: replies in time. goodput_rps: of them, per second. quality_goodput: each counted
    with its tier's quality; good_quality: their sum. usd_per_1k_good_tokens: all replicas' price,
    idle or starting, over the prompt and reply tokens that came in time; None when none did.
    e2e_s: percentiles of served requests. fairness: Jain's index of the groups' attainments, 1
    when all are equal. regret: quality that the clairvoyant had and this run had not, as a share;
    None without a clairvoyant.
    """

    offered: int
    attainment: float
    goodput_rps: float
    quality_goodput: float
    good_quality: float
    usd_per_1k_good_tokens: float | None
    accept_rate: float
    e2e_s: Mapping[str, float]
    best_tier_share: float
    fairness: float
    attainment_by_group: Mapping[str, float]
    regret: float | None = None


@dataclass(slots=True)
class Scorer:
    """Adds up one run.

    since_s: requests that arrived earlier taught and are not scored. quality: of each tier.
    has_classes: groups of fairness are the callers' classes; else they are prompt lengths.
    """

    since_s: float
    quality: Mapping[str, Mapping[str, float]]
    has_classes: bool = False
    offered: int = 0
    good: int = 0
    served: int = 0
    good_quality: float = 0.0
    good_tokens: int = 0
    last_arrived_at_s: float = 0.0
    sent: Counter[str] = field(default_factory=Counter)
    group_offered: Counter[str] = field(default_factory=Counter)
    group_good: Counter[str] = field(default_factory=Counter)
    e2e_s: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, result: Result) -> None:
        """Takes one request that has ended for good."""
        arrival = result.arrival
        request, asked = arrival.request, arrival.asked
        if request.arrived_at_s < self.since_s:
            return
        group = asked.share_key if self.has_classes else _prompt_group(request.prompt_tokens)
        self.offered += 1
        self.group_offered[group] += 1
        self.last_arrived_at_s = max(self.last_arrived_at_s, request.arrived_at_s)
        e2e_s, tier = result.e2e_s, result.tier
        if e2e_s is None or tier is None:
            return
        self.served += 1
        self.sent[tier] += 1
        self.e2e_s.append(e2e_s)
        if result.is_slo_met:
            quality = self.quality[tier]
            self.good += 1
            self.group_good[group] += 1
            self.good_quality += quality.get(asked.task, quality["default"])
            self.good_tokens += request.prompt_tokens + request.output_tokens

    def score(self, *, usd: float, best_tier: str, clairvoyant: float | None = None) -> Score:
        """The run's score.

        Args:
            usd: what all replicas cost meanwhile. clairvoyant: its sum of quality.
        """
        offered, span_s = max(1, self.offered), max(1e-9, self.last_arrived_at_s - self.since_s)
        ordered = sorted(self.e2e_s)
        by_group = {
            group: self.group_good[group] / count
            for group, count in sorted(self.group_offered.items())
        }
        return Score(
            offered=self.offered,
            attainment=self.good / offered,
            goodput_rps=self.good / span_s,
            quality_goodput=self.good_quality / span_s,
            good_quality=self.good_quality,
            usd_per_1k_good_tokens=1000 * usd / self.good_tokens if self.good_tokens else None,
            accept_rate=self.served / offered,
            e2e_s={f"p{q}": _quantile(ordered, q / 100) for q in (50, 95, 99)},
            best_tier_share=self.sent[best_tier] / offered,
            fairness=jain(list(by_group.values())),
            attainment_by_group=by_group,
            regret=1 - self.good_quality / clairvoyant if clairvoyant else None,
        )


def jain(values: list[float]) -> float:
    """(sum x)^2 / (n sum x^2): 1 when all are equal, 1/n when one has everything (Jain 1984)."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _prompt_group(prompt_tokens: int) -> str:
    for limit, group in _PROMPT_GROUPS:
        if prompt_tokens <= limit:
            return group
    return _LONG_PROMPTS


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
