"""The router's replica: Serve calls it, it wires the request path and serves HTTP."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import metrics
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from deployments.local_models import tandem_home
from deployments.messages import Load
from serve_app.api.door.cluster import metrics_page
from serve_app.api.door.wiring import Door, open_door
from serve_app.api.http import http_app
from serve_app.api.memory import Memory
from serve_app.api.service import Service
from serve_app.config import AppConfig, RoutingConfig, TelemetryConfig
from serve_app.dispatch.dispatcher import Dispatcher
from serve_app.haproxy.settings import lost_aborts_warning
from serve_app.ray_serve.fellow_routers import FellowRouters
from serve_app.ray_serve.readiness import Readiness
from serve_app.ray_serve.tiers import HandleTier
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.live.facts import TierSettings
from serve_app.routing.live.state import TierState
from serve_app.scaling.metrics import as_metrics
from serve_app.storage.locations import open_storage
from serve_app.telemetry.decision_log import DecisionLog
from serve_app.telemetry.metrics import Metrics
from serve_app.telemetry.recorder import Recorder
from serve_app.telemetry.tracing import tracer

log = logging.getLogger("ray.serve.tandem")


class RayMetrics:
    """Makes metrics that Ray's own Prometheus endpoint exports."""

    def counter(self, name: str, description: str, tag_keys: Sequence[str]) -> Any:
        return metrics.Counter(name, description, tag_keys=tuple(tag_keys))

    def gauge(self, name: str, description: str, tag_keys: Sequence[str]) -> Any:
        return metrics.Gauge(name, description, tag_keys=tuple(tag_keys))

    def histogram(
        self, name: str, description: str, boundaries: Sequence[float], tag_keys: Sequence[str]
    ) -> Any:
        return metrics.Histogram(name, description, list(boundaries), tuple(tag_keys))


@serve.ingress()
class Router:
    """The ingress. Imports no engine: it stays at some 150 MB and starts in a second.

    Args:
        args: the application's `args`, already validated once when it was built.
        handles: by tier id. deployments: deployment names by tier id. counters: what callers used,
            shared by all routers; None without API keys.
    """

    def __init__(
        self,
        args: dict[str, Any],
        settings: Mapping[str, TierSettings],
        deployments: Mapping[str, str],
        counters: DeploymentHandle | None = None,
        **handles: DeploymentHandle,
    ) -> None:
        warning = lost_aborts_warning(os.environ)
        if warning:
            log.warning(warning)
        config = AppConfig.model_validate(args)
        by_tier = {tier: handles[f"tier_{i}"] for i, tier in enumerate(settings)}
        replica = serve.get_replica_context().replica_id.unique_id
        self._door = open_door(config, counters, replica)
        self._service = _service(config, settings, deployments, by_tier, self._door)

    async def __serve_build_asgi_app__(self) -> FastAPI:
        return http_app(self._service, self._background, self._door.ring, self._door.neighbours)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What this router tells the controller, which adds up all routers'."""
        now = time.monotonic()
        signals = {tier: state.signal(now) for tier, state in self._service.states.items()}
        return as_metrics(signals)

    async def died(self, content: str, replicas: Collection[str]) -> None:
        """A fellow router's word for which engines died of a content."""
        self._service.dispatcher.died(content, replicas)

    @asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        service = self._service
        # Serve sends requests here once this has begun.
        await service.readiness.meet()
        tasks = [asyncio.create_task(service.readiness.watch())]
        tasks += [asyncio.create_task(work) for work in self._door.background()]
        if service.memory is not None:
            tasks.append(asyncio.create_task(service.memory.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            # Awaited, because the last thing a memory does is to save.
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(service.recorder.close)


def _service(
    config: AppConfig,
    settings: Mapping[str, TierSettings],
    deployments: Mapping[str, str],
    handles: Mapping[str, DeploymentHandle],
    door: Door,
) -> Service:
    default_tokens = config.routing.default_output_tokens
    all_lengths = OutputLengths(default_tokens)
    states = {
        tier: TierState(
            tier_settings, default_output_tokens=default_tokens, all_lengths=all_lengths
        )
        for tier, tier_settings in settings.items()
    }
    tiers = {tier: HandleTier(tier, handle) for tier, handle in handles.items()}
    context = serve.get_replica_context()
    app_name = context.app_name

    async def count_replicas() -> Mapping[str, int] | None:
        return await asyncio.to_thread(_running_replicas, app_name, deployments)

    async def load(tier: str) -> Load:
        return await tiers[tier].load()

    readiness = Readiness(tiers, states, count_replicas, _may_sleep(config))
    recorder = Recorder(
        Metrics(RayMetrics()),
        tracer(),
        is_logging=config.telemetry.access_log,
        decisions_kept=config.telemetry.decisions_kept,
        decision_log=_decision_log(config.telemetry, context.replica_id.unique_id),
        objective=config.routing.objective,
        replica=context.replica_id.unique_id,
    )
    fellows = FellowRouters(serve.get_deployment_handle(context.deployment, app_name))
    dispatcher = Dispatcher(
        config, tiers, states, readiness.counters, recorder,
        clock=time.monotonic, is_going=lambda: readiness.is_going, tell=fellows.died,
    )  # fmt: skip
    memory = _memory(config.routing, states, all_lengths, app_name)
    return Service(
        config, dispatcher, readiness, states, recorder, load, memory,
        visits=door.visits, key_usage=door.usage, metrics_page=metrics_page,
    )  # fmt: skip


def _decision_log(telemetry: TelemetryConfig, replica: str) -> DecisionLog | None:
    if not telemetry.decision_log:
        return None
    folder = telemetry.decision_log_folder
    return DecisionLog(
        Path(folder).expanduser() if folder else tandem_home() / "decisions",
        replica=replica,
        max_bytes=telemetry.decision_log_file_mb * 1_000_000,
        max_files=telemetry.decision_log_files,
    )


def _memory(
    routing: RoutingConfig,
    states: Mapping[str, TierState],
    all_lengths: OutputLengths,
    app_name: str,
) -> Memory | None:
    if not routing.keeps_state:
        return None
    uri = routing.state or str(tandem_home() / "learned" / f"{app_name}.json")
    return Memory(states, all_lengths, open_storage(uri), every_s=routing.state_every_s)


def _running_replicas(app_name: str, deployments: Mapping[str, str]) -> dict[str, int] | None:
    """Running replicas by tier id, as the controller counts them; None when all are to go."""
    application = serve.status().applications.get(app_name)
    if application is None or application.status is ApplicationStatus.DELETING:
        return None
    statuses = application.deployments
    return {
        tier: statuses[name].replica_states.get("RUNNING", 0)
        for tier, name in deployments.items()
        if name in statuses
    }


def _may_sleep(config: AppConfig) -> frozenset[str]:
    """Tiers that may scale to zero; the router is ready without them."""
    return frozenset(spec.model_id for spec in config.llm_configs if spec.may_sleep)
