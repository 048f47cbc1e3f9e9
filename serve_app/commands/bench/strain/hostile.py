"""`tandem bench hostile`: idle, slow and endless clients, and whether others are still served."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deployments.local_models import tandem_home
from serve_app.bench.client import Address
from serve_app.bench.fake_file import fake_file
from serve_app.bench.hostile.crowds import most_connections
from serve_app.bench.hostile.run import Round, endure
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.processes import alone, refuse_taken
from serve_app.bench.targets import Target, table_of
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.bench.server import HOST, end_leftover, running
from serve_app.commands.local.environment import private_folder
from serve_app.commands.local.watch import Say
from serve_app.commands.progress import progress

_ADDRESS = Address(HOST, 18120)
_FAST = {"prefill_base_s": 0.0, "prefill_per_token_s": 0.0, "step_base_s": 0.0,
         "step_per_sequence_s": 0.0, "max_num_seqs": 512, "output_tokens": 4}  # fmt: skip
_STREAMING = _FAST | {"step_base_s": 0.01, "output_tokens": 2000}


def hostile(
    connections: Annotated[
        int, typer.Option(min=10, help="Idle and half-open ones; fewer where files are limited.")
    ] = 10_000,
    slow: Annotated[int, typer.Option(min=1, help="Slow writers, and slow readers.")] = 200,
    requests: Annotated[int, typer.Option(min=10, help="Of everybody else, per crowd.")] = 200,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """Clients that hold a server up on purpose, and whether everybody else is still served.

    \b
    Starts Tandem with fake tiers, then by turns: idle connections, half-sent headers, bodies of a
    byte per second, streams read at a byte per second, bodies without end.
    Exit code 0: everybody else was served each time. 1: somebody was not, or it did not run.
    """
    sockets = min(connections, most_connections())
    crowds = {
        "idle": sockets, "half-open": sockets, "slow writers": slow, "slow readers": slow,
        "huge bodies": 4,
    }  # fmt: skip

    def measure(console: Console) -> dict[str, Any]:
        machine = describe_machine()
        with alone(private_folder(tandem_home() / "hostile")) as folder:
            rounds = _measure(folder, crowds, requests, console)
        verdicts = [
            Target(f"others served beside {r.name}", low=1.0).judged(r.served.share) for r in rounds
        ]
        _show(rounds, console)
        console.print(table_of("Everybody else", verdicts))
        return {
            "object": "tandem.bench.hostile",
            "machine": machine,
            "versions": versions(["ray"]),
            "requests": requests,
            "rounds": [r.as_document() for r in rounds],
            "targets": [verdict.as_document() for verdict in verdicts],
            "is_met": all(verdict.is_met for verdict in verdicts),
        }

    conclude(measure, json)


def _measure(folder: Path, crowds: dict[str, int], requests: int, console: Console) -> list[Round]:
    end_leftover(folder)
    refuse_taken([_ADDRESS])
    content = fake_file(_ADDRESS, {"small": _STREAMING, "large": _FAST})
    with progress(console, 2 + len(crowds)) as say:
        say("starting Tandem")
        with running(content, folder, _ADDRESS) as instance:
            return asyncio.run(_rounds(crowds, requests, instance.processes, say))


async def _rounds(crowds: dict[str, int], requests: int, processes: Any, say: Say) -> list[Round]:
    say("nobody else")
    rounds = [await endure(None, 0, _ADDRESS, processes, requests=requests)]
    for kind, number in crowds.items():
        say(f"{number} {kind}")
        rounds.append(await endure(kind, number, _ADDRESS, processes, requests=requests))
    return rounds


def _show(rounds: list[Round], console: Console) -> None:
    table = Table("crowd", "asked", "opened", "others served", "p50 ms", "p99 ms", "MB more",
                  "descriptors more", title="Beside a crowd")  # fmt: skip
    for r in rounds:
        table.add_row(
            r.name, str(r.asked), str(r.num_open), f"{r.served.share:.1%}",
            f"{r.served.p50_ms:.1f}", f"{r.served.p99_ms:.1f}", f"{r.memory_mb:.0f}",
            str(r.descriptors),
        )  # fmt: skip
    console.print(table)
