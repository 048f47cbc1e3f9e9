"""What the HTTP routes stand on: one object, wired in app.py, held in `app.state`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request

from deployments.messages import Load
from serve_app.api.door.visits import Visits
from serve_app.api.memory import Memory
from serve_app.config import AppConfig
from serve_app.dispatch.dispatcher import Dispatcher
from serve_app.ray_serve.readiness import Readiness
from serve_app.routing.live.state import TierState
from serve_app.telemetry.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Service:
    """The router's parts, as the routes need them.

    load: asks one replica of a tier, now. memory: keeps what was learned; None keeps nothing.
    key_usage: by key id, as all routers counted it; empty without keys. metrics_page: in
    Prometheus' text format.
    """

    config: AppConfig
    dispatcher: Dispatcher
    readiness: Readiness
    states: Mapping[str, TierState]
    recorder: Recorder
    load: Callable[[str], Awaitable[Load]]
    memory: Memory | None
    visits: Visits
    key_usage: Callable[[], Awaitable[Mapping[str, Mapping[str, float]]]]
    metrics_page: Callable[[], Awaitable[bytes]]


def service_of(request: Request) -> Service:
    """The service behind the application that a request came to."""
    service: Service = request.app.state.service
    return service
