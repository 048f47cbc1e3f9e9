"""The router's whole HTTP application in this process, over tiers that answer at once.

Everything in front of the handle is real: door, keys, limits, parsing, dispatcher, answers.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp

from deployments.messages import Load
from serve_app.access.keys.key import Key
from serve_app.access.keys.ring import KeyRing
from serve_app.access.keys.secret import hashed, new_key_id, new_secret, whole_key
from serve_app.access.limits.books import Books
from serve_app.access.limits.limiter import Limiter
from serve_app.access.limits.messages import Lease, Report
from serve_app.api.door.visits import Visits
from serve_app.api.http import http_app
from serve_app.api.service import Service
from serve_app.bench.fuzz.instant_tier import LOAD, PROFILE, InstantTier
from serve_app.config import AppConfig
from serve_app.dispatch.dispatcher import Dispatcher
from serve_app.ray_serve.readiness import Readiness
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.live.facts import TierSettings
from serve_app.routing.live.state import TierState
from serve_app.telemetry.metrics import Metrics
from serve_app.telemetry.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Target:
    """token: a key that is valid here; None where no keys are asked for.

    begin: to be awaited before the first request. limiter: runs beside; None without keys.
    """

    app: ASGIApp
    token: str | None = None
    begin: Callable[[], Awaitable[None]] | None = None
    limiter: Limiter | None = None


def target(*, has_keys: bool) -> Target:
    """The application over two tiers."""
    config = AppConfig.model_validate(
        {
            "llm_configs": [_tier("small", 1.0), _tier("large", 2.0)],
            "slo_classes": {"whatsapp": {"e2e_ms": 5000, "expected_output_tokens": 64}},
            "admission": {"max_body_bytes": 200_000},
            "auth": {"open_to_everyone": True},
        }
    )
    limiter = Limiter(_OwnCounters(), "here", time.monotonic) if has_keys else None
    service, readiness = _service(config, Visits(limiter, {}, 64))

    secret, key_id = new_secret(), new_key_id()
    key = Key(
        id=key_id, hash=hashed(secret), admin=True,
        requests_per_minute=10**9, tokens_per_minute=10**12, concurrent_requests=10**6,
    )  # fmt: skip
    ring = KeyRing([key])
    app = http_app(service, nothing_beside, ring=(lambda: ring) if has_keys else None)
    token = whole_key(key_id, secret) if has_keys else None
    return Target(app, token, readiness.refresh, limiter)


@asynccontextmanager
async def nothing_beside() -> AsyncIterator[None]:
    """An application without anything that runs beside its requests."""
    yield


def _service(config: AppConfig, visits: Visits) -> tuple[Service, Readiness]:
    tiers = {tier.model_id: InstantTier(tier.model_id) for tier in config.llm_configs}
    states = {
        tier.model_id: TierState(
            TierSettings(
                tier.model_id, tier.routing.quality, 1.0, 0, None, LatencyProfile(**PROFILE)
            ),
            default_output_tokens=64,
        )
        for tier in config.llm_configs
    }

    async def replicas() -> Mapping[str, int]:
        return dict.fromkeys(tiers, 1)

    async def load(tier: str) -> Load:
        return LOAD

    async def usage() -> Mapping[str, Mapping[str, float]]:
        return {}

    async def page() -> bytes:
        return b"# no metrics here\n"

    readiness = Readiness(tiers, states, replicas)
    recorder = Recorder(Metrics(_NoMetrics()), None, is_logging=False, decisions_kept=100)
    dispatcher = Dispatcher(config, tiers, states, readiness.counters, recorder)
    service = Service(
        config, dispatcher, readiness, states, recorder, load, None,
        visits=visits, key_usage=usage, metrics_page=page,
    )  # fmt: skip
    return service, readiness


def _tier(model_id: str, quality: float) -> dict[str, Any]:
    return {
        "model_loading_config": {"model_id": model_id},
        "routing": {"quality": {"default": quality}},
        "fake": {},
    }


class _OwnCounters:
    def __init__(self) -> None:
        self._books = Books(lambda: datetime.now(UTC).date())

    async def renew(self, router: str, reports: Mapping[str, Report]) -> Mapping[str, Lease]:
        return self._books.renew(router, reports, now=time.monotonic())


class _NoMetric:
    def inc(self, value: float = 1.0, tags: Mapping[str, str] | None = None) -> None: ...

    def set(self, value: float, tags: Mapping[str, str] | None = None) -> None: ...

    def observe(self, value: float, tags: Mapping[str, str] | None = None) -> None: ...


class _NoMetrics:
    def counter(self, name: str, description: str, tag_keys: Sequence[str]) -> Any:
        return _NoMetric()

    def gauge(self, name: str, description: str, tag_keys: Sequence[str]) -> Any:
        return _NoMetric()

    def histogram(
        self, name: str, description: str, boundaries: Sequence[float], tag_keys: Sequence[str]
    ) -> Any:
        return _NoMetric()
