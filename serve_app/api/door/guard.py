"""Who may come in. An ASGI layer around the application: a key or a refusal, before any body.

The application behind it finds the key in the request's scope.
"""

import ipaddress
from collections.abc import Callable, Container

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.access.keys.key import Key
from serve_app.access.keys.ring import KeyRing
from serve_app.access.rights import require_admin
from serve_app.api.responses import error_response
from serve_app.errors import UNREAD, InvalidRequest, NotPermitted, TandemError

_SCOPE_KEY = "tandem.key"
_MOST_HEADERS = 100
# What a load balancer and a browser may see without a key; they tell nothing of requests.
_OPEN = frozenset({"/livez", "/readyz", "/docs", "/openapi.json"})
_ADMIN = ("/v1/router/", "/metrics", "/ui")


def key_of(request: Request) -> Key | None:
    """The caller's key; None where no keys are asked for."""
    key: Key | None = request.scope.get(_SCOPE_KEY)
    return key


class Guard:
    """Lets in who presents a key, or without keys, who calls from this cluster.

    Args:
        ring: the keys in force; None asks for none. neighbours: addresses of this cluster's
            machines; only they are answered while no keys are asked for. None answers everybody.
    """

    def __init__(
        self,
        app: ASGIApp,
        ring: Callable[[], KeyRing] | None,
        neighbours: Container[str] | None,
        max_header_bytes: int,
    ) -> None:
        self._app = app
        self._ring = ring
        self._neighbours = neighbours
        self._max_header_bytes = max_header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # There are no WebSockets here; ending the connection is the whole answer.
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            key = self._admitted(scope)
        except TandemError as error:
            await error_response(error, UNREAD)(scope, receive, send)
            return
        scope[_SCOPE_KEY] = key
        await self._app(scope, receive, send)

    def _admitted(self, scope: Scope) -> Key | None:
        self._require_small_headers(scope)
        # Below the application's own prefix, as its routes see it.
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._ring is None:
            self._require_neighbour(scope)
            return None
        if path in _OPEN:
            return None
        key = self._ring().find(Headers(scope=scope).get("authorization"))
        if path.startswith(_ADMIN):
            require_admin(key, path)
        return key

    def _require_small_headers(self, scope: Scope) -> None:
        headers = scope["headers"]
        if len(headers) > _MOST_HEADERS:
            raise InvalidRequest(
                f"The request has {len(headers)} headers; at most {_MOST_HEADERS} are accepted."
            )
        for name, value in headers:
            if len(value) > self._max_header_bytes:
                raise InvalidRequest(
                    f"The header {name[:64].decode('latin-1')!a} has {len(value)} bytes; the limit "
                    f"is {self._max_header_bytes} (input.max_header_bytes)."
                )

    def _require_neighbour(self, scope: Scope) -> None:
        """Ray's own ports listen on every interface, whatever `http_options.host` says."""
        if self._neighbours is None or scope.get("client") is None:
            return
        host = scope["client"][0]
        if host in self._neighbours or _is_loopback(host):
            return
        raise NotPermitted(
            "Without API keys only this cluster's own machines are answered. Set auth.keys; see "
            "docs/keys.md."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
