"""Whether an address may be served without keys. A host and the settings in, a refusal out."""

import ipaddress

from serve_app.access.settings import AuthConfig

_REMEDY = (
    "Make keys with `tandem keys create --file keys.yaml` and set `auth: {keys: keys.yaml}`, bind "
    "to 127.0.0.1, or say `auth: {open_to_everyone: true}`"
)


def is_loopback(host: str | None) -> bool:
    """Whether only this machine reaches what listens on `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0"), is_loopback("localhost")
    (True, False, True)
    """
    if host is None:
        # Ray listens nowhere then.
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refusal(host: str | None, auth: AuthConfig) -> str | None:
    """Why this must not be served; None when it may."""
    if auth.is_on or auth.open_to_everyone or is_loopback(host):
        return None
    return (
        f"http_options.host is {host!r}, which others reach, and there are no API keys: anybody "
        f"could use the models and read the router's state. {_REMEDY}."
    )
