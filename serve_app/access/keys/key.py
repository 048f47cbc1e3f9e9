"""One API key: who it is, what it may do. Parsed from the keys file, and written to it."""

from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator

from deployments.spec import Strict
from serve_app.access.keys.secret import parts_of

_HEAD = """\
# API keys of Tandem, written by `tandem keys`. Secrets are not in here, only their salted hashes.
# Running routers read it again within seconds. docs/keys.md explains the fields.
"""


class Key(Strict):
    """What a caller with this key may do; what is left out is not limited."""

    id: str = Field(pattern=r"^[a-z0-9]{4,32}$", description="Public name; part of the key.")
    name: str = Field("", max_length=100, description="Whose it is; for people.")
    hash: str = Field(description="Salted hash of the secret.", repr=False)
    created: str = Field("", max_length=40, description="When it was made.")
    revoked: str | None = Field(None, max_length=40, description="Since when it is void.")
    admin: bool = Field(False, description="May read the router's state, metrics and decisions.")
    models: tuple[str, ...] | None = Field(
        None, description="Values of `model` it may use: tiers, `auto`, `auto:CLASS`."
    )
    classes: tuple[str, ...] | None = Field(
        None, description="SLO classes it may use; then it may not name objectives of its own."
    )
    default_slo_class: str | None = Field(
        None, description="Class of its requests that name no objective, before the app's own."
    )
    requests_per_minute: int | None = Field(None, ge=1, description="In any 60 seconds.")
    tokens_per_minute: int | None = Field(
        None, ge=1, description="Prompt and output tokens in any 60 seconds."
    )
    concurrent_requests: int | None = Field(None, ge=1, description="At the same time.")
    usd_per_month: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Budget of a calendar month (UTC), in USD."
    )

    @field_validator("hash")
    @classmethod
    def _is_hash(cls, kept: str) -> str:
        parts_of(kept)
        return kept

    @property
    def is_revoked(self) -> bool:
        return self.revoked is not None


class KeysInvalid(ValueError):
    """The keys file cannot be used; the message says where and why, without any hash."""


def read_keys(data: bytes) -> tuple[Key, ...]:
    """Keys of a keys file.

    Raises:
        KeysInvalid: not YAML, not our schema, or an id twice.
    """
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise KeysInvalid("The keys file is not YAML; `tandem keys create` writes one.") from err
    except ValueError as err:
        # Of a date that no calendar has, PyYAML says no more than this.
        raise KeysInvalid(f"The keys file holds a value that YAML cannot read: {err}.") from err
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeysInvalid("The keys file must be a mapping with a list `keys`.")
    keys = tuple(_key(index, entry) for index, entry in enumerate(entries))
    ids = [key.id for key in keys]
    twice = sorted({key_id for key_id in ids if ids.count(key_id) > 1})
    if twice:
        raise KeysInvalid(f"keys: the id {twice[0]!r} is used more than once; make a new key.")
    return keys


def written_keys(keys: tuple[Key, ...]) -> bytes:
    """The keys file that holds these."""
    entries = [key.model_dump(mode="json", exclude_defaults=True) for key in keys]
    return (_HEAD + yaml.safe_dump({"keys": entries}, sort_keys=False)).encode()


def _key(index: int, entry: Any) -> Key:
    try:
        return Key.model_validate(entry)
    except ValidationError as err:
        first = err.errors(include_input=False, include_url=False)[0]
        where = ".".join(["keys", str(index), *map(str, first["loc"])])
        raise KeysInvalid(f"{where}: {first['msg']}") from None
