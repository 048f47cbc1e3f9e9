"""Attainment, goodput, percentiles, tokens and cost of a run. Records in, figures out."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_app.bench.overhead.measures import quantile
from serve_app.bench.traffic.records import Record


@dataclass(frozen=True, slots=True)
class Scores:
    """One run. Rates are per second of the time in which requests were offered.

    attainment: replies in time over all that was offered. quality_goodput_per_s: each reply in
    time weighs as much as the quality of the model that wrote it. e2e: of all offered requests,
    from when they were due; infinite where one got no reply. tokens: of served requests.
    busy_s: until the last reply was whole. shares: of served requests, by model.
    """

    offered: int
    duration_s: float
    busy_s: float
    attainment: float
    goodput_per_s: float
    quality_goodput_per_s: float
    p50_e2e_s: float
    p90_e2e_s: float
    p99_e2e_s: float
    prompt_tokens: int
    output_tokens: int
    failures: int
    statuses: Mapping[str, int]
    shares: Mapping[str, float]
    p99_late_s: float

    @property
    def tokens_per_s(self) -> float:
        """Prompt and output tokens processed per second."""
        return (self.prompt_tokens + self.output_tokens) / self.busy_s

    @property
    def output_tokens_per_s(self) -> float:
        return self.output_tokens / self.busy_s

    def as_document(self) -> dict[str, Any]:
        """As JSON takes it: three digits after the point, None for never."""
        rates = {"tokens_per_s": self.tokens_per_s, "output_tokens_per_s": self.output_tokens_per_s}
        values = {name: getattr(self, name) for name in self.__dataclass_fields__} | rates
        return {name: _plain(value) for name, value in values.items()}


def scores(records: Sequence[Record], *, duration_s: float, quality: Mapping[str, float]) -> Scores:
    """
    Args:
        duration_s: how long requests were offered.
        quality: by model; 1 for those that it does not name.

    Raises:
        ValueError: nothing was offered.
    """
    if not records:
        raise ValueError("no request was offered: there is nothing to score")
    served = [record for record in records if record.is_served]
    in_time = [record for record in served if record.is_in_time]
    e2e_s = sorted(record.e2e_s if record.is_served else math.inf for record in records)
    return Scores(
        offered=len(records),
        duration_s=duration_s,
        busy_s=max(record.ended_s for record in records),
        attainment=len(in_time) / len(records),
        goodput_per_s=len(in_time) / duration_s,
        quality_goodput_per_s=sum(quality.get(r.model or "", 1.0) for r in in_time) / duration_s,
        p50_e2e_s=_exceeded_by(e2e_s, 0.5),
        p90_e2e_s=_exceeded_by(e2e_s, 0.9),
        p99_e2e_s=_exceeded_by(e2e_s, 0.99),
        prompt_tokens=sum(record.prompt_tokens for record in served),
        output_tokens=sum(record.output_tokens for record in served),
        failures=sum(record.is_failure for record in records),
        statuses=Counter(str(record.status or "no answer") for record in records),
        shares=_shares(served),
        p99_late_s=quantile([record.late_s for record in records], 0.99),
    )


def usd_per_1k_tokens(usd_per_hour: float, *, tokens: float, duration_s: float) -> float:
    """What a thousand tokens cost on machines that are paid by the hour.

    Tokens processed = prompt + output tokens; throughput = tokens / duration; cost per 1K tokens =
    price of the machines per hour / thousands of tokens per hour. Infinite without tokens.

    >>> round(usd_per_1k_tokens(0.8, tokens=400_000, duration_s=1800), 4)
    0.001
    """
    thousands_per_hour = tokens / 1e3 / duration_s * 3600
    return usd_per_hour / thousands_per_hour if thousands_per_hour else math.inf


def _exceeded_by(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; never between two.

    Half way to infinity would be infinity.
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _shares(served: Sequence[Record]) -> dict[str, float]:
    counts = Counter(record.model or "unnamed" for record in served)
    return {model: count / len(served) for model, count in sorted(counts.items())}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
