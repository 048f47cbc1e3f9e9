"""How Ray's HAProxy is to be set up: it must pass disconnects on, and survive a router's death.

A router that dies takes the connections to it along. HAProxy sends an unstreamed request whose
answer had not begun to another router (`empty-response`), if it is no longer than HAProxy's
buffer of 16 kB.

A defect: Ray 2.60 writes `option splice-request` into HAProxy's configuration. With it, HAProxy
stops watching a client whose request body arrived apart from its headers, as every httpx and OpenAI
client sends it; when such a client leaves, nobody behind HAProxy learns of it and the engine
generates to the end. docs/haproxy_lost_aborts.py shows it in a minute.
"""

from collections.abc import Mapping

_VARIABLE = "RAY_SERVE_HAPROXY_RETRY_ON"
_OTHER_FILES = 1000
_REMEDY = "no option splice-request"

# Ray has no switch for it, but renders this value as it is, below the line it must undo.
HAPROXY_SETTINGS = {
    # Nor one for clients that connect and send no whole request head; they would stay an hour.
    _VARIABLE: f"conn-failure empty-response\n    {_REMEDY}\n    timeout http-request 20s",
    # A request of which one router dies is not shown to all of them.
    "RAY_SERVE_HAPROXY_RETRIES": "2",
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
        "`tandem up` uses (serve_app/haproxy.py)."
    )
