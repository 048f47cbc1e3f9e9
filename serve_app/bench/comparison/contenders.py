"""Who is compared: servers that are started together, and the ways to ask them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from serve_app.bench.client import Address
from serve_app.bench.traffic.workload import Asked


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to have requests answered.

    key: names its files. model: what the body of a request names. slo: what a request says of its
    SLO beside the time; None where the server knows no SLO. probed: the model that the overhead is
    measured with. usd_per_hour: of the engines that it needs.
    """

    key: str
    name: str
    address: Address
    model: Callable[[Asked], str]
    probed: str
    usd_per_hour: float
    slo: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Stand:
    """Servers that run at the same time, started when entered, stopped when left."""

    name: str
    serve: Callable[[], AbstractContextManager[object]]
    contenders: tuple[Contender, ...]


def always(model: str) -> Callable[[Asked], str]:
    return lambda _: model


def by_length(threshold: int, *, shorter: str, longer: str) -> Callable[[Asked], str]:
    """What a caller does who knows nothing but the length of his prompt, in tokens."""
    return lambda asked: shorter if asked.prompt_tokens <= threshold else longer
