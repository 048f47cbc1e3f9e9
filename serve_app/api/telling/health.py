"""Whether the router lives, is ready, and how it does."""

from starlette.requests import Request
from starlette.responses import Response

from serve_app.api.responses import JsonResponse
from serve_app.api.service import service_of


async def metrics(request: Request) -> Response:
    """Ray's Prometheus page of the machine this router runs on, with the router's own series."""
    page = await service_of(request).metrics_page()
    return Response(page, media_type="text/plain; version=0.0.4")


async def livez(request: Request) -> Response:
    """200 while the process answers."""
    return JsonResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """200 when every tier that should run can serve, else 503 with what is missing."""
    readiness = service_of(request).readiness
    status = "ready" if readiness.is_ready else "starting"
    return JsonResponse(
        {"status": status, "tiers": readiness.tiers()},
        status_code=200 if readiness.is_ready else 503,
    )
