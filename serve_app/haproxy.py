"""A defect of Ray's HAProxy set-up, and the setting that avoids it.

Ray 2.60 writes `option splice-request` into HAProxy's configuration. With it, HAProxy stops
watching a client whose request body arrived apart from its headers, as every httpx and OpenAI
client sends it; when such a client leaves, nobody behind HAProxy learns of it and the engine
generates to the end. docs/haproxy_lost_aborts.py shows it in a minute.
"""

from collections.abc import Mapping

_VARIABLE = "RAY_SERVE_HAPROXY_RETRY_ON"
_REMEDY = "no option splice-request"

# Ray has no switch for it, but renders this value as it is, below the line it must undo.
ABORTS_REACH_REPLICAS = {_VARIABLE: f"conn-failure\n    {_REMEDY}"}


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
