"""The router's whole HTTP application in this process, over tiers that answer at once.

Everything in front of the handle is real: door, keys, limits, parsing, dispatcher, answers.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from deployments.events import DONE, wants_usage, with_usage
from deployments.messages import EngineCall, Head, Load, Reply, Tail, TierFacts, Usage
from serve_app.access.keys.key import Key
from serve_app.access.keys.ring import KeyRing
from serve_app.access.keys.secret import hashed, new_key_id, new_secret, whole_key
from serve_app.access.limits.books import Books
from serve_app.access.limits.limiter import Limiter
from serve_app.access.limits.messages import Lease, Report
from serve_app.api.door.visits import Visits
from serve_app.api.http import http_app
from serve_app.api.service import Service
from serve_app.config import AppConfig
from serve_app.dispatcher import Dispatcher
from serve_app.readiness import Readiness
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.live.state import TierSettings, TierState
from serve_app.telemetry.metrics import Metrics
from serve_app.telemetry.recorder import Recorder

_PROFILE = {
    "prefill_base_s": 0.001, "prefill_per_token_s": 1e-6,
    "step_base_s": 0.001, "step_per_sequence_s": 1e-5,
}  # fmt: skip
# Touches what templates of real models touch.
_TEMPLATE = """\
{%- for message in messages %}<|{{ message.role }}|>{{ message.content | trim }}
{%- if message.tool_calls %}{% for call in message.tool_calls %}{{ call.function.name }}
{{- call.function.arguments | tojson }}{% endfor %}{% endif %}
{%- endfor %}{% if tools %}{{ tools | tojson }}{% endif %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""
_LOAD: Load = {"replica": "here", "running": 0, "waiting": 0, "queued_tokens": 0, "kv_usage": 0.0}


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
                tier.model_id, tier.routing.quality, 1.0, 0, None, LatencyProfile(**_PROFILE)
            ),
            default_output_tokens=64,
        )
        for tier in config.llm_configs
    }

    async def replicas() -> Mapping[str, int]:
        return dict.fromkeys(tiers, 1)

    async def load(tier: str) -> Load:
        return _LOAD

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


class InstantTier:
    """Answers at once, after doing to the body what a real tier does to it."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id

    async def describe(self) -> TierFacts:
        tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = Whitespace()
        return {
            "model_id": self._model_id,
            "context_tokens": 8192,
            "max_num_seqs": 64,
            "max_num_batched_tokens": 8192,
            "tokenizer_json": tokenizer.to_str().encode(),
            "chat_template": _TEMPLATE,
            "special_tokens": {},
            "profile": {**_PROFILE},  # type: ignore[typeddict-item]
            "fingerprint": "instant",
            "engine": "instant",
        }

    async def measure(self) -> TierFacts:
        return await self.describe()

    async def complete(self, call: EngineCall) -> Reply:
        usage: Usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return {"status": 200, "body": b'{"choices": []}', "usage": usage, "load": _LOAD}

    async def stream(self, call: EngineCall) -> AsyncGenerator[Head | bytes | Tail, None]:
        body = with_usage(call["body"])
        assert wants_usage(body)
        usage: Usage = {"prompt_tokens": 1, "completion_tokens": 1}
        yield {"status": 200, "data": b'data: {"choices": []}\n\n', "load": _LOAD}
        yield {"data": DONE.encode(), "usage": usage, "load": _LOAD}


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
