"""The HTTP application: routes, documents, and one place where errors become answers."""

from collections.abc import AsyncIterator, Callable, Container
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from serve_app.access.keys.ring import KeyRing
from serve_app.api import generate
from serve_app.api.documents import (
    ERRORS,
    GENERATE_BODY,
    SECURITY_SCHEMES,
    TOKENIZE_BODY,
    path_parameters,
)
from serve_app.api.door.guard import Guard
from serve_app.api.responses import error_response
from serve_app.api.service import Service
from serve_app.api.telling import health, models, router, tokens
from serve_app.errors import ClientGone, TandemError

_LONGEST_SHOWN = 200


class _NoRoute(TandemError):
    code = "not_found"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def http_app(
    service: Service,
    lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ring: Callable[[], KeyRing] | None = None,
    neighbours: Container[str] | None = None,
) -> FastAPI:
    """Builds the app.

    Args:
        lifespan: runs around serving, for what the service does in the background. ring,
            neighbours: who is let in, as `door.guard.Guard` says.
    """

    @asynccontextmanager
    async def run(_: FastAPI) -> AsyncIterator[None]:
        async with lifespan():
            yield

    app = FastAPI(
        title="Tandem",
        summary="One OpenAI-compatible address over a small and a large model.",
        lifespan=run,
    )
    app.state.service = service
    _document_keys(app)
    app.add_exception_handler(TandemError, _tandem_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(Exception, _our_fault)
    app.add_middleware(
        Guard,
        ring=ring,
        neighbours=neighbours,
        max_header_bytes=service.config.input.max_header_bytes,
    )
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    def post(path: str, handler: Callable[..., Any], body: dict[str, Any]) -> None:
        # The plain route answers: it costs a fifth of FastAPI's, which is kept for /docs.
        app.router.routes.append(Route(path, handler, methods=["POST"]))
        app.add_api_route(
            path,
            handler,
            methods=["POST"],
            response_class=Response,
            openapi_extra=body | ERRORS,
        )

    def get(path: str, handler: Callable[..., Any]) -> None:
        app.add_api_route(
            path,
            handler,
            methods=["GET"],
            response_class=Response,
            openapi_extra=path_parameters(path) | ERRORS,
        )

    post("/v1/chat/completions", generate.chat_completions, GENERATE_BODY)
    post("/v1/completions", generate.completions, GENERATE_BODY)
    post("/v1/route", generate.route, GENERATE_BODY)
    post("/tokenize", tokens.tokenize, TOKENIZE_BODY)
    get("/v1/models", models.models)
    get("/v1/models/{model:path}", models.model)
    get("/v1/router/state", router.router_state)
    get("/v1/router/decisions/{decision_id}", router.decision)
    get("/v1/router/keys", router.key_usage)
    get("/metrics", health.metrics)
    get("/livez", health.livez)
    get("/readyz", health.readyz)


def _document_keys(app: FastAPI) -> None:
    """Has /openapi.json say how keys are sent."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        document.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
        return document

    app.openapi = openapi  # type: ignore[method-assign]


async def _tandem_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TandemError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {ascii(request.url.path[:_LONGEST_SHOWN])[1:-1]}"
    message = f"{where}: {error.detail}. /docs lists the endpoints."
    return error_response(_NoRoute(message, error.status_code))


async def _client_gone(request: Request, error: Exception) -> Response:
    return error_response(ClientGone("The client went away while it sent the body."))


async def _our_fault(request: Request, error: Exception) -> Response:
    """A defect of ours; Starlette raises it again afterwards, so that it is logged."""
    return error_response(TandemError("The router failed on this request; its log has the cause."))
