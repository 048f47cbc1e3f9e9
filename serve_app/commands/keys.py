"""`tandem keys`: make, list and revoke API keys; running routers notice within seconds."""

import json as json_format
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table

from serve_app.access.keys.key import Key, KeysInvalid, read_keys, written_keys
from serve_app.access.keys.secret import hashed, new_key_id, new_secret, whole_key
from serve_app.storage.locations import open_storage
from serve_app.storage.types import StorageFailed

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")

File = Annotated[
    str, typer.Option("--file", help="The keys file that `auth.keys` names; or s3://bucket/key.")
]
_DEFAULT_FILE = "keys.yaml"
_console = Console(highlight=False, soft_wrap=True)


@keys.callback()
def _keys() -> None:
    """Make, list and revoke API keys; running routers notice within seconds."""


@keys.command()
def create(
    file: File = _DEFAULT_FILE,
    name: Annotated[str, typer.Option(help="Whose it is, for `tandem keys list`.")] = "",
    admin: Annotated[bool, typer.Option(help="May read the router's state and metrics.")] = False,
    model: Annotated[
        list[str] | None, typer.Option(help="May use this model; repeat. All when left out.")
    ] = None,
    slo_class: Annotated[
        list[str] | None, typer.Option("--class", help="May use this SLO class; repeat.")
    ] = None,
    default_class: Annotated[
        str | None, typer.Option(help="SLO class of requests that name no objective.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    concurrent_requests: Annotated[int | None, typer.Option(min=1)] = None,
    usd_per_month: Annotated[
        float | None, typer.Option(help="Budget, by the tiers' usd_per_hour.")
    ] = None,
) -> None:
    """Make a key and print it: the only time that it is shown. The file keeps a hash of it."""
    secret = new_secret()
    try:
        key = Key(
            id=new_key_id(), name=name, hash=hashed(secret), created=_now(), revoked=None,
            admin=admin, models=tuple(model) if model else None,
            classes=tuple(slo_class) if slo_class else None, default_slo_class=default_class,
            requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
            concurrent_requests=concurrent_requests, usd_per_month=usd_per_month,
        )  # fmt: skip
    except ValidationError as err:
        first = err.errors(include_input=False)[0]
        raise _failed(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    # Once, also where S3 had saved it and lost the answer, and it is saved again.
    _change(file, lambda found: (*(other for other in found if other.id != key.id), key))
    # Alone on its line and on standard output, so that a script can take it.
    print(whole_key(key.id, secret))
    Console(stderr=True, highlight=False).print(
        f"Key {key.id} is in {file}. Store what was printed above now: it is kept nowhere."
    )


@keys.command("list")
def list_keys(
    file: File = _DEFAULT_FILE,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write them to this file as JSON, no hashes.")
    ] = None,
) -> None:
    """List the keys, without secrets and without hashes."""
    table = Table(
        Column("id", no_wrap=True, min_width=12),
        "name",
        "admin",
        "models",
        "classes",
        "limits",
        "created",
        "revoked",
    )
    found = _load(file)
    for key in found:
        table.add_row(
            key.id, key.name, "yes" if key.admin else "", _joined(key.models),
            _joined(key.classes), _limits(key), key.created, key.revoked or "",
        )  # fmt: skip
    _console.print(table)
    if json is not None:
        rows = [key.model_dump(mode="json", exclude={"hash"}) for key in found]
        json.write_text(json_format.dumps({"keys": rows}, indent=2) + "\n")


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id, as `tandem keys list` shows it.")],
    file: File = _DEFAULT_FILE,
) -> None:
    """Make a key void; its entry stays, so that its owner is told why."""
    _change(file, lambda found: _without(key_id, found, file))
    _console.print(f"Key {key_id} is revoked. Running routers refuse it within 5 s.", markup=False)


def _without(key_id: str, found: tuple[Key, ...], file: str) -> tuple[Key, ...]:
    if key_id not in [key.id for key in found]:
        known = ", ".join(key.id for key in found) or "none"
        raise _failed(f"There is no key {key_id!r} in {file}; it holds {known}.")
    return tuple(
        key.model_copy(update={"revoked": key.revoked or _now()}) if key.id == key_id else key
        for key in found
    )


def _load(file: str) -> tuple[Key, ...]:
    with _said():
        return _parsed(open_storage(file).load())


def _change(file: str, changed: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
    """Changes what is there at this moment: another command may be writing too."""
    with _said():
        open_storage(file).change(lambda data: written_keys(changed(_parsed(data))))


def _parsed(data: bytes | None) -> tuple[Key, ...]:
    return () if data is None else read_keys(data)


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (KeysInvalid, StorageFailed, ValueError) as err:
        raise _failed(str(err)) from err


def _failed(message: str) -> typer.Exit:
    Console(stderr=True, highlight=False).print(message, style="red", markup=False)
    return typer.Exit(1)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _joined(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names)


def _limits(key: Key) -> str:
    limits = {
        "requests/min": key.requests_per_minute, "tokens/min": key.tokens_per_minute,
        "at once": key.concurrent_requests, "USD/month": key.usd_per_month,
    }  # fmt: skip
    return ", ".join(f"{value:g} {name}" for name, value in limits.items() if value is not None)
