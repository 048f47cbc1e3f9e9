"""`tandem route`: which tier would answer a prompt, and why; nothing is generated."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from serve_app.check.tables import NARROW

_TIMEOUT_S = 30.0


def route(
    prompt: Annotated[str, typer.Argument(help="The user's message.")],
    url: Annotated[
        str, typer.Option(help="A running Tandem; it knows its load and its own speed.")
    ] = "http://127.0.0.1:8000",
    config: Annotated[
        Path | None,
        typer.Option(help="Decide without a server: a Serve file; tiers idle, speeds computed."),
    ] = None,
    slo_e2e_ms: Annotated[
        float | None, typer.Option(help="Deadline of the whole reply, in milliseconds.")
    ] = None,
    slo_class: Annotated[
        str | None, typer.Option("--class", help="A class of `slo_classes`.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Limit of the reply, in tokens.")] = None,
    model: Annotated[str, typer.Option(help="A tier's id pins it.")] = "auto",
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the decision to this file as JSON.")
    ] = None,
) -> None:
    """Show which tier would answer a prompt, and why; nothing is generated.

    \b
    Exit code 0: a tier was chosen.
    Exit code 1: none would be, or the request was refused; the reason is printed.
    Exit code 2: the command was called wrongly.
    """
    if slo_class is not None and model != "auto":
        raise typer.BadParameter("give --class or a tier's --model, not both")
    body: dict[str, Any] = {
        "model": f"auto:{slo_class}" if slo_class else model,
        "messages": [{"role": "user", "content": prompt}],
    }
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    if slo_e2e_ms is not None:
        body["slo"] = {"e2e_ms": slo_e2e_ms}
    decision, notes = _ask_server(url, body) if config is None else _ask_file(config, body)
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(decision))
    for note in notes:
        console.print(note, style="yellow", markup=False)
    for line in (_summary(decision), *_reasons(decision)):
        console.print(line, markup=False)
    if json is not None:
        json.write_text(json_format.dumps(decision, indent=2) + "\n")
    if decision["selected"] is None:
        raise typer.Exit(1)


def _ask_server(url: str, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    import httpx

    try:
        response = httpx.post(f"{url.rstrip('/')}/v1/route", json=body, timeout=_TIMEOUT_S)
    except httpx.HTTPError as err:
        _stop(f"{url} does not answer ({err}). Start it with `make up`, or use --config FILE.")
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict) and response.is_success and "candidates" in answer:
        return answer, []
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else response.text[:200]
    _stop(f"{url} answered {response.status_code}: {message}")


def _ask_file(file: Path, body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    from pydantic import ValidationError

    from serve_app.commands.route.dry_run import dry_run
    from serve_app.errors import TandemError

    try:
        return dry_run(_read_config(file), body)
    except (ValidationError, ValueError, OSError) as err:
        _stop(f"{file} cannot be used: {err}\nRun `tandem check {file}` for the whole list.")
    except TandemError as err:
        _stop(err.message)


def _read_config(file: Path) -> Any:
    """The `args` of the file's Tandem application.

    Raises:
        ValueError: the file has none, or its values are wrong.
    """
    from serve_app.check.file.document import parse
    from serve_app.check.file.serve_file import IMPORT_PATH, our_applications
    from serve_app.config import AppConfig

    document = parse(file.read_text())
    data = document.data if isinstance(document.data, dict) else {}
    indices = our_applications(data)
    if not indices:
        raise ValueError(f"it has no application with `import_path: {IMPORT_PATH}`")
    return AppConfig.model_validate(data["applications"][indices[0]].get("args") or {})


def _stop(message: str) -> NoReturn:
    Console(stderr=True).print(message, style="red", markup=False, highlight=False)
    raise typer.Exit(1)


def _table(decision: dict[str, Any]) -> Table:
    """Narrow enough for 80 columns; why a tier is not the one stands below it."""
    table = Table("tier", **NARROW)
    for name in ("reply", "95 %", "waits", "P(met)", "tokens", "quality", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for candidate in decision["candidates"]:
        is_selected = candidate["tier"] == decision["selected"]
        table.add_row(*_cells(candidate), style="bold green" if is_selected else None)
    return table


def _cells(candidate: dict[str, Any]) -> tuple[str, ...]:
    return (
        candidate["tier"],
        _seconds(candidate["predicted_e2e_ms"]),
        _seconds(candidate["p95_e2e_ms"]),
        _seconds(candidate["wait_ms"]),
        f"{candidate['probability']:.2f}",
        f"{candidate['prompt_tokens']}+{candidate['output_tokens']:.0f}",
        f"{candidate['quality']:g}",
        f"{candidate['cost_usd']:.2g}",
    )


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f} s"


def _reasons(decision: dict[str, Any]) -> list[str]:
    """Of each tier that is not the one."""
    candidates = decision["candidates"]
    return [f"Not {c['tier']}: {c['why_not']}." for c in candidates if c["why_not"]]


def _summary(decision: dict[str, Any]) -> str:
    slo = decision["slo"]
    names = ("e2e_ms", "ttft_ms", "tpot_ms")
    limits = [f"{name} {slo[name]:g}" for name in names if slo.get(name) is not None]
    asked = f"SLO {', '.join(limits)}" if limits else "no SLO"
    if decision["selected"] is None:
        return f"No tier would answer ({asked})."
    return f"{decision['selected']} would answer: {decision['reason']} ({asked})."
