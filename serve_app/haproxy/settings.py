"""How Ray's HAProxy is to be set up: it must pass disconnects on, and survive a router's death.

A router that dies takes the connections to it along. HAProxy sends an unstreamed request whose
answer had not begun to another router (`empty-response`). It can do so only with what it kept of
the request: it must have waited for the body (`http-buffer-request`; without it, 20 of 133 requests
got a 500 instead when one router after the other was killed), and all must fit its buffer.

A defect: Ray 2.60 writes `option splice-request` into HAProxy's configuration. With it, HAProxy
stops watching a client whose request body arrived apart from its headers, as every httpx and OpenAI
client sends it; when such a client leaves, nobody behind HAProxy learns of it and the engine
generates to the end. docs/haproxy_lost_aborts.py shows it in a minute.
"""

from collections.abc import Mapping

_VARIABLE = "RAY_SERVE_HAPROXY_RETRY_ON"
_OTHER_FILES = 1000
_REMEDY = "no option splice-request"

# Ray has no switch for these, but renders this value as it is, below the line it must undo.
_RETRY_ON = (
    "conn-failure empty-response",
    _REMEDY,
    "option http-buffer-request",
    # Clients that connect and send no whole request would stay an hour.
    "timeout http-request 20s",
)

HAPROXY_SETTINGS = {
    _VARIABLE: "\n    ".join(_RETRY_ON),
    # One may reach the dying router once more, one is refused there; the third goes elsewhere.
    "RAY_SERVE_HAPROXY_RETRIES": "3",
    # Who refuses a connection is gone: marked down at once, so that no retry ends there.
    "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
    # Bytes of headers and body of a request that can be sent again, some 12,000 tokens.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
}


def most_connections(file_limit: int) -> str:
    """HAProxy's `maxconn`: as many as its files allow; Ray's own 4096 are soon taken.

    A connection takes two files, and half of one for the pipes of `option splice-response`.

    Args:
        file_limit: file descriptors that a process may open.
    """
    return str(min(20_000, max(500, 2 * (file_limit - _OTHER_FILES) // 5)))


def lost_aborts_warning(environment: Mapping[str, str]) -> str | None:
    """What to say when this environment makes HAProxy lose disconnects; None when all is well."""
    if environment.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return None
    if _REMEDY in environment.get(_VARIABLE, ""):
        return None
    return (
        f"{_VARIABLE} does not switch off `option splice-request`: HAProxy will lose some clients' "
        "disconnects and engines will finish replies nobody reads. Start Ray with the value that "
        "`tandem up` uses (serve_app/haproxy/settings.py)."
    )
